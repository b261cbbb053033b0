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
PARAMS = {"models": None, "methods": None, "kinds": None}

NETWORKS = {"pretrained": "-", "oracle": "--"}
ACROSS = 2  # panels
ASKED, REMINDED = PALETTE[0], PALETTE[1]


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """One panel for each generator; a line for each method, from what it shows when asked to that when reminded."""
    models = params["models"]
    lines = -(-len(models) // ACROSS)
    figure, panels = plt.subplots(lines, ACROSS, figsize=(COLUMN, 1.4 * lines + 0.3), sharey=True, squeeze=False)
    for axes, model in zip(panels.flat, models, strict=False):
        show(axes, lookup.of(model=model), params["methods"][model])
        axes.set_title(f"{QUESTIONS[params['kinds'][model]]}:\n{name_of(model)}", fontsize=7)
    known = panels[0, 0].get_legend_handles_labels()
    if len(models) < panels.size:
        panels.flat[-1].set_axis_off()
        panels.flat[-1].legend(*known, loc="center")
    else:
        figure.legend(*known, loc="outside lower center", ncols=ACROSS)
    for axes in panels.flat[max(len(models) - ACROSS, 0) : len(models)]:
        axes.set_xlabel("kept of the rest (%)")
    figure.supylabel("shown of what was to be forgotten (%)", fontsize=8)
    return figure


def show(axes: Axes, here: Lookup, methods: list[str]) -> None:
    """Draw the methods of a generator, and the levels of its pretrained model and of its oracle."""
    points = {
        name: np.array([here.get(metric, method=name).value for metric in ("rest", "asked", "reminded")])
        for name in methods
    }
    for rest, asked, reminded in (100 * point for point in points.values()):
        axes.plot([rest, rest], [asked, reminded], color=GREY, linewidth=0.6, zorder=1)
    for row, (label, look, colour) in enumerate((("asked", "o", ASKED), ("reminded", "^", REMINDED)), start=1):
        axes.plot(
            [100 * point[0] for point in points.values()],
            [100 * point[row] for point in points.values()],
            look,
            color=colour,
            markersize=3,
            label=f"a method, {label}",
        )
        for name, line in NETWORKS.items():
            level = 100 * here.get(label, method=name).value
            axes.axhline(
                level, color=colour, linestyle=line, linewidth=0.8, zorder=0, label=f"{name_of(name)}, {label}"
            )
    axes.set_ylim(-6, 106)
