"""Forgetting against preservation, one mark per rule."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palimpsest.lcr.figures._common import lookup_of, whiskers
from palimpsest.lcr.names import name_of
from palimpsest.report.style import PAGE, PALETTE

GROUPS = {
    "random": ("random_safe", "random_live", "random_frequency", "shuffle_in_mask", "fixed"),
    "nearest": ("nn_embed", "nn_proj", "nn_decoded", "nn_cooccurrence", "learned_map"),
    "context": ("masked_requant", "border_fill", "donor_patch", "context_icm"),
    "pixels": ("black", "mean_colour", "blur", "pixelate"),
    "oracle": ("twin",),
}
SHAPES = dict(zip(GROUPS, "osD^*", strict=True))
GAP = 0.052  # of the panel's height, between two labels


def draw(inputs: list[Path], params: dict) -> Figure:
    """One panel per model: residual detection against the distance to the true twin, all cells of the mask."""
    lookup, models = lookup_of(inputs), params["models"]
    figure, panels = plt.subplots(1, len(models), figsize=(PAGE, 3.1), sharey=True, squeeze=False)
    for axes, model in zip(panels[0], models, strict=True):
        here = lookup.of(model=model, set=params["set"], scope="mask", cells="all", top="")
        marks = []
        for rule in params["rules"]:
            found, distance = here.get("detection_rate", method=rule), here.get("twin_lpips_mini", method=rule)
            if np.isnan([found.value, distance.value]).any():
                continue
            group = next((name for name, members in GROUPS.items() if rule in members), "context")
            colour = PALETTE[list(GROUPS).index(group)]
            size = 7 if group == "oracle" else 4
            errors = {"xerr": whiskers(distance), "yerr": whiskers(found), "elinewidth": 0.5}
            axes.errorbar(distance.value, found.value, fmt=SHAPES[group], color=colour, markersize=size, **errors)
            marks.append((distance.value, found.value, name_of(rule), colour))
        axes.set(title=name_of(model), xlabel="lpips_mini to the true twin")
        axes.set_ylim(bottom=-0.02)
        label(axes, marks)
    panels[0, 0].set_ylabel("share in which the concept is found")
    return figure


def label(axes: Axes, marks: list[tuple]) -> None:
    """Write the names in a column beside the panel, in the order of the marks and apart, each with a leader."""
    marks = sorted(marks, key=lambda mark: mark[1])
    bottom, top = axes.get_ylim()
    heights = [(mark[1] - bottom) / (top - bottom) for mark in marks]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + GAP)
    excess = max(0.0, heights[-1] - 1) if heights else 0.0
    for (x, y, text, colour), height in zip(marks, heights, strict=True):
        leader = {
            "arrowstyle": "-",
            "color": colour,
            "linewidth": 0.4,
            "alpha": 0.6,
            "shrinkA": 0,
            "shrinkB": 2,
            "relpos": (0, 0.5),
        }
        axes.annotate(
            text,
            (x, y),
            xytext=(1.03, height - excess),
            textcoords="axes fraction",
            fontsize=6.5,
            color=colour,
            va="center",
            arrowprops=leader,
        )
