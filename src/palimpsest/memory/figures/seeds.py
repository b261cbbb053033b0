"""Seeds of one picture, sought from other pictures and of the picture with noise: how far apart, and what they give."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.memory.names import name_of
from palimpsest.memory.tables._rows import rows_together
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE, PALETTE

MEASUREMENTS = ("audit",)
PARAMS = {"models": None, "methods": None, "oracles": None}

KINDS = {"distant": (PALETTE[3], "o", -0.12), "adjacent": (PALETTE[0], "s", 0.12)}
PANELS = {
    "seeds_cosine": "cosine distance\nof pairs",
    "seeds_apart": "Euclidean distance\nof pairs",
    "seeds_distance": "Euclidean distance\nto own seed",
    "seeds_variation": "CV of distances\nto own seed",
    "seeds_psnr": "PSNR (dB) of what\nthey give back",
}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """Panels: how far apart seeds are, how far from the picture's own, how alike that is, what they give back."""
    rows = list(rows_together(lookup, params, params["models"][0]))
    figure, panels = plt.subplots(1, len(PANELS), figsize=(PAGE, 0.19 * len(rows) + 0.8), sharey=True)
    for panel, (metric, called) in zip(panels, PANELS.items(), strict=True):
        for kind, (colour, marker, shift) in KINDS.items():
            found = [here.get(metric, kind=kind) for _, _, here in rows]
            value, low, high = (np.array([getattr(each, part) for each in found]) for part in ("value", "low", "high"))
            look = {"color": colour, "fmt": marker, "elinewidth": 0.7, "markersize": 3, "label": name_of(kind)}
            panel.errorbar(value, np.arange(len(rows)) + shift, xerr=[value - low, high - value], **look)
        panel.set_xlabel(called, fontsize=7)
        panel.set_xlim(left=None if metric == "seeds_psnr" else 0)
    panels[0].set_yticks(range(len(rows)), [title for _, title, _ in rows])
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure
