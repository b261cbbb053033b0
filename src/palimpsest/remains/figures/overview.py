"""The question and the answer: what every method suppresses, what comes back, and what it keeps."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palimpsest.remains.names import QUESTIONS, name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import COLUMN, GREY, PALETTE

MEASUREMENTS = ("compared",)
OPTIONAL = ("asked", "reminded", "rest")
PARAMS = {"models": None, "methods": None, "kinds": None}

NETWORKS = {"pretrained": "-", "oracle": "--"}
ACROSS = 2  # panels
ASKED, REMINDED = PALETTE[0], PALETTE[1]
SPAN = 12  # points of what is kept, that a panel shows at least: less is no difference to look at


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """One panel for each generator; a line for each method, from what it shows when asked to that when reminded."""
    models = params["models"]
    lines = -(-len(models) // ACROSS)
    figure, panels = plt.subplots(lines, ACROSS, figsize=(COLUMN, 1.4 * lines + 0.3), sharey=True, squeeze=False)
    for axes, model in zip(panels.flat, models, strict=False):
        show(axes, lookup.of(model=model), params["methods"][model])
        kind = params["kinds"][model]
        axes.set_title(f"{QUESTIONS[kind]}:\n{name_of(model, kind)}", fontsize=7)
    known = max((axes.get_legend_handles_labels() for axes in panels.flat), key=lambda each: len(each[1]))
    if len(models) < panels.size:
        panels.flat[-1].set_axis_off()
        panels.flat[-1].legend(*known, loc="center")
    else:
        figure.legend(*known, loc="outside lower center", ncols=ACROSS)
    figure.supxlabel("kept of the rest (%)", fontsize=8)
    figure.supylabel("shown (%)", fontsize=8)
    return figure


def show(axes: Axes, here: Lookup, methods: list[str]) -> None:
    """Draw the methods of a generator, and where its pretrained model and its oracle are."""
    every = [*NETWORKS, *methods]
    points = {
        name: 100 * np.array([here.get(metric, method=name).value for metric in ("rest", "asked", "reminded")])
        for name in every
    }
    for rest, asked, reminded in points.values():
        axes.plot([rest, rest], [asked, reminded], color=GREY, linewidth=0.6, zorder=1)
    shown = np.array(list(points.values()))
    for column, (label, mark, colour) in enumerate((("asked", "o", ASKED), ("reminded", "^", REMINDED)), start=1):
        if np.isnan(shown[:, column]).all():
            continue
        rest, level = shown[len(NETWORKS) :, 0], shown[len(NETWORKS) :, column]
        axes.plot(rest, level, mark, color=colour, markersize=3, label=f"a method, {label}")
        for name, line in NETWORKS.items():
            if not np.isnan(points[name][column]):
                axes.axhline(points[name][column], color=colour, linestyle=line, linewidth=0.7, zorder=0)
                look = {"linestyle": line, "color": colour, "linewidth": 0.7, "markerfacecolor": "white"}
                axes.plot(*points[name][[0, column]], marker=mark, markersize=5, **look, label=f"{name}, {label}")
    left, right = axes.get_xlim()
    axes.set_xlim(min(left, right - SPAN), max(right, 101))
    axes.set_ylim(min(-6, np.nanmin(shown[:, 1:]) - 6), 106)
