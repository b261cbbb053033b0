"""Ridge regression: one point removed or replaced, and how often a surrogate stays nearer than removal."""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palimpsest.report.lookup import Lookup
from palimpsest.report.style import COLUMN, GREY, PALETTE

INPUTS = ("<results>/instance/ridge/curves.parquet",)

POINTS = {
    "data": {"marker": "o", "color": GREY},
    "removed point": {"marker": "X", "color": PALETTE[3]},
    "surrogate": {"marker": "D", "color": PALETTE[0]},
}
LINES = {
    "original fit": {"color": "black", "linestyle": "-"},
    "after removal": {"color": PALETTE[3], "linestyle": "--"},
    "after replacement": {"color": PALETTE[0], "linestyle": "-."},
}
BELOW = 0.31  # the share of the height that the legends take
KINDS = {"label": ("new label", PALETTE[2], "s"), "general": ("new input and label", PALETTE[1], "o")}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """Left: an example (an illustration, not evidence); right: the win rate over the edit size. inputs: the curves."""
    curves = pd.read_parquet(inputs[0])
    figure, panels = plt.subplots(1, 2, figsize=(COLUMN, 3.1), width_ratios=(1, 1.15))
    draw_example(panels[0], curves[curves["panel"] == "example"])
    draw_win_rate(panels[1], curves[curves["panel"] == "win rate"])
    # The legends stand side by side below: neither panel is wide enough, or empty enough, to hold one.
    figure.set_layout_engine("constrained", rect=(0, BELOW, 1, 1 - BELOW))
    for axes, place in zip(panels, ((0.1, BELOW), (0.55, BELOW)), strict=True):
        figure.legend(*axes.get_legend_handles_labels(), loc="upper left", bbox_to_anchor=place, borderaxespad=0)
    return figure


def draw_example(axes: Axes, curves: pd.DataFrame) -> None:
    """Data, the removed point, its surrogate, and the three lines."""
    for name, look in LINES.items():
        part = curves[curves["series"] == name]
        axes.plot(part["x"], part["y"], label=name, **look)
    for name, look in POINTS.items():
        part = curves[curves["series"] == name]
        axes.plot(part["x"], part["y"], label=name, linestyle="none", zorder=3, **look)
    axes.set(title="one example", xlabel="input x", ylabel="label y")


def draw_win_rate(axes: Axes, curves: pd.DataFrame) -> None:
    """The share of points whose surrogate moves the fit less than removal, with 95 % intervals."""
    for kind, (called, colour, marker) in KINDS.items():
        part = curves[curves["series"] == kind].sort_values("x")
        axes.fill_between(part["x"], part["low"], part["high"], color=colour, alpha=0.45, linewidth=0)
        axes.plot(part["x"], part["y"], color=colour, marker=marker, markersize=2, linewidth=0.5, label=called)
    axes.axhline(0.5, color=GREY, linestyle=":", label="one half")
    axes.set(title="surrogate is nearer", xscale="log", ylim=(0, 1.02))
    axes.set(xlabel="edit size s\n(standard deviations)", ylabel="share of random points")
    axes.xaxis.set_major_formatter("{x:g}")
