"""The solvable mixture: where seeds lie under N(0, I), and how far apart those of nearly equal pictures are."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palimpsest.memory.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import COLUMN, GREY, PALETTE

INPUTS = ("<results>/memory/solvable/curves.parquet",)

SETS = {"erased": (PALETTE[3], -0.17), "reference": (PALETTE[0], 0.17)}
LINES = {
    ("vanilla", "erased"): {"color": PALETTE[2], "marker": "o"},
    ("oracle", "reference"): {"color": PALETTE[1], "marker": "s", "linestyle": "--"},
    ("random", "erased"): {"color": PALETTE[4], "marker": "^"},
    ("zero", "erased"): {"color": "black", "marker": "x"},
}
SHORT = {"zero": "ε = 0", "white": "white data"}
BELOW = 0.235  # the share of the height that the legends take


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """Left: seeds of each model; right: seeds of one picture with noise. inputs: the curves of the step."""
    curves = pd.read_parquet(inputs[0])
    figure, panels = plt.subplots(1, 2, figsize=(COLUMN, 2.9), width_ratios=(1.25, 1))
    draw_seeds(panels[0], curves[curves["panel"] == "seeds"])
    draw_adjacent(panels[1], curves[curves["panel"] == "cosine"])
    figure.set_layout_engine("constrained", rect=(0, BELOW, 1, 1 - BELOW))
    for axes, place in zip(panels, ((0.02, BELOW), (0.46, BELOW)), strict=True):
        figure.legend(*axes.get_legend_handles_labels(), loc="upper left", bbox_to_anchor=place, borderaxespad=0)
    return figure


def draw_seeds(axes: Axes, curves: pd.DataFrame) -> None:
    """The likelihood of each picture's seed, in standard deviations of that of N(0, I)."""
    models = list(dict.fromkeys(curves["model"]))
    for name, (colour, shift) in SETS.items():
        part = curves[curves["set"] == name]
        places = part["model"].map(models.index) + shift
        # Spread over the width in the order drawn, so that no random number is needed.
        spread = part.groupby("model").cumcount() / part.groupby("model")["y"].transform("size") - 0.5
        look = {"linestyle": "none", "marker": ".", "markersize": 2, "alpha": 0.6}
        axes.plot(places + 0.25 * spread, part["y"], color=colour, label=name_of(name), **look)
    axes.axhspan(-1.96, 1.96, color=GREY, alpha=0.35, linewidth=0, label="N(0, I), 95 %")
    axes.set_yscale("symlog", linthresh=10)
    axes.set_xticks(np.arange(len(models)), [SHORT.get(model, model) for model in models], rotation=40, ha="right")
    axes.set(ylabel="z-score of seeds’ NLL")


def draw_adjacent(axes: Axes, curves: pd.DataFrame) -> None:
    """The mean cosine distance of the seeds of one picture with noise, by the noise's PSNR."""
    for (model, name), look in LINES.items():
        part = curves[(curves["model"] == model) & (curves["set"] == name)]
        part = part.assign(x=part["x"].astype(float)).sort_values("x")
        axes.plot(part["x"], part["y"], label=f"{name_of(model)}, {name_of(name)}", markersize=3, **look)
    axes.set(xlabel="noise’s PSNR (dB)", ylabel="cosine distance", ylim=(0, 1.02))
