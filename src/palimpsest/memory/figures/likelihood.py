"""log p of pictures against the NLL of their seeds, and what their captions add to it."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palimpsest.memory.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import COLUMN, PALETTE

INPUTS = ("<results>/memory/{first_model}/likelihood/pictures.parquet",)
PARAMS = {"models": None}

SETS = {"concept": (PALETTE[3], "o"), "neutral": (PALETTE[0], "s")}
CALLED = {"concept": "E", "neutral": "R"}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """Left: the pretrained network under own captions; right: the gain by the caption, by network and concept."""
    rows = pd.read_parquet(inputs[0])
    figure, panels = plt.subplots(1, 2, figsize=(COLUMN, 2.5))
    draw_relation(panels[0], rows[(rows["method"] == "pretrained") & (rows["caption"] == "own")])
    draw_gains(panels[1], rows)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(SETS))
    return figure


def draw_relation(axes: Axes, rows: pd.DataFrame) -> None:
    """A mark for each picture."""
    for name, (colour, marker) in SETS.items():
        part = rows[rows["set"] == name]
        axes.plot(part["nll"], part["log_p"], marker, color=colour, markersize=2.5, alpha=0.8, label=CALLED[name])
    axes.set(xlabel="NLL of the seed (nats)", ylabel="log p of the picture (nats)")


def draw_gains(axes: Axes, rows: pd.DataFrame) -> None:
    """log p under the own caption less that under none: a mark for each picture, a line for the mean."""
    wide = rows.pivot(index=["method", "concept", "set", "picture"], columns="caption", values="log_p")
    gains = (wide["own"] - wide["empty"]).rename("gain").reset_index()
    order = rows[["method", "concept"]].drop_duplicates().to_records(index=False).tolist()
    for place, (method, concept) in enumerate(order):
        for (name, (colour, marker)), shift in zip(SETS.items(), (-0.18, 0.18), strict=True):
            chosen = (gains["method"] == method) & (gains["concept"] == concept) & (gains["set"] == name)
            values = gains[chosen]["gain"].to_numpy()
            spread = np.linspace(-0.1, 0.1, len(values))
            axes.plot(place + shift + spread, values, marker, color=colour, markersize=2, alpha=0.7)
            axes.plot([place + shift - 0.14, place + shift + 0.14], [values.mean()] * 2, color="black", linewidth=1)
    axes.axhline(0, color="black", linewidth=0.6, linestyle=":")
    names = [f"{name_of(method)}, {name_of(concept)}" for method, concept in order]
    axes.set_xticks(range(len(order)), names, rotation=40, ha="right")
    axes.set(ylabel="gain by the caption (nats)")
