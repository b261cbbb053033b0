"""How alike a picture stays to itself, to the descriptor, when it is damaged or made another person's."""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.instance.published import LIMIT
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE, PALETTE

MEASUREMENTS = ("judges",)
PARAMS = {"judges": None}
OPTIONAL = ("damaged_similarity",)

AXES = {"noise": "noise σ (of 255)", "blur": "blur σ (pixels)", "edit": "edit strength"}


def draw(lookup: Lookup, inputs: list, params: dict) -> Figure:
    """A panel for each kind of damage."""
    figure, panels = plt.subplots(1, len(AXES), figsize=(PAGE, 2.0), sharey=True)
    rows = lookup.rows("damaged_similarity", family="judges")
    for axes, (kind, title) in zip(panels, AXES.items(), strict=True):
        some = rows[rows["damage"] == kind].assign(amount=lambda rows: rows["amount"].astype(float))
        measured = some.sort_values("amount")[["amount", "value", "low", "high"]].to_numpy()
        # An undamaged picture is itself.
        amounts, middle, low, high = np.array([(0, 1, 1, 1), *measured]).T
        spread = [middle - low, high - middle]
        axes.errorbar(amounts, middle, spread, marker="o", markersize=3, color=PALETTE[0])
        axes.axhline(LIMIT, color=PALETTE[3], linestyle="--", linewidth=0.8, zorder=0)
        axes.set(xlabel=title, ylim=(-0.3, 1.05))
    panels[0].set_ylabel(params["judges"]["descriptor"])
    return figure
