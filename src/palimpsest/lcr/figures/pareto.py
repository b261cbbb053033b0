"""Forgetting against preservation, one mark per rule."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from palimpsest.lcr.figures._common import whiskers
from palimpsest.lcr.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import GREY, PAGE, PALETTE

MEASUREMENTS = ("reconstruction", "grid")
PARAMS = {"models": None, "rules": None, "sets": ["forget_test"]}

GROUPS = {
    "random": ("random_safe", "random_live", "random_frequency", "shuffle_in_mask", "fixed"),
    "nearest": ("nn_embed", "nn_proj", "nn_decoded", "nn_cooccurrence", "learned_map"),
    "context": ("masked_requant", "border_fill", "donor_patch", "context_icm"),
    "pixels": ("black", "mean_colour", "blur", "pixelate"),
    "oracle": ("twin",),
}
SHAPES = dict(zip(GROUPS, "osD^*", strict=True))
# Pictures that are no edit, drawn hollow: where doing nothing stands.
REFERENCES = {"reconstruction": "o", "original": "s"}
# Where a number may stand from its mark, in points: around it, else above or below it on a leader.
NEAR = [(0, 6.5), (7, 4), (-7, 4), (8, 0), (-8, 0), (7, -4), (-7, -4), (0, -6.5)]
FAR = [(x, y) for y in (13, -13, 19, -19, *range(25, 60, 6)) for x in (0, 8, -8, 15, -15)]
# Points, across and up, from which on a number is apart from a mark, and from another number.
FROM_MARK, FROM_NUMBER = (6.5, 5.5), (8, 6.2)


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """One panel per model: residual detection against the distance to the true twin, all cells of the mask."""
    models = params["models"]
    rules = [rule for members in grouped(params["rules"]).values() for rule in members]
    figure, panels = plt.subplots(
        1, len(models) + 1, figsize=(PAGE, 3.2), squeeze=False, width_ratios=[1] * len(models) + [0.5]
    )
    for axes, model in zip(panels[0], models, strict=False):
        show(axes, lookup.of(model=model, set=params["sets"]["forget_test"]), rules)
        axes.set(
            title=name_of(model), xlabel="lpips_mini to the true twin", ylim=(-0.16, 1.04), yticks=np.linspace(0, 1, 6)
        )
        axes.set_xlim(left=0)
    panels[0, 0].set_ylabel("share in which the concept is found")
    write_key(panels[0, -1], params["rules"])
    figure.draw_without_rendering()  # numbers are placed in panels laid out as they will be
    for axes in panels[0, : len(models)]:
        number_marks(axes, rules)
    return figure


def grouped(rules: list[str]) -> dict[str, list[str]]:
    """The rules by group, in the order of both; a rule of no group counts as context."""
    found = {group: [rule for rule in rules if rule in members] for group, members in GROUPS.items()}
    found["context"] += [rule for rule in rules if not any(rule in members for members in GROUPS.values())]
    return {group: members for group, members in found.items() if members}


def look_of(rule: str) -> tuple[str, tuple]:
    """The mark and the colour of a rule's group."""
    group = next((name for name, members in GROUPS.items() if rule in members), "context")
    return SHAPES[group], PALETTE[list(GROUPS).index(group)]


def show(axes: Axes, here: Lookup, rules: list[str]) -> None:
    """Draw the marks of one model, each labelled with its rule, and the line of doing nothing."""
    labels = {"scope": "mask", "cells": "all", "top": ""}
    for rule in [*REFERENCES, *rules]:
        chosen = {"method": rule, **({"scope": "", "cells": ""} if rule in REFERENCES else labels)}
        found, distance = here.get("detection_rate", **chosen), here.get("twin_lpips_mini", **chosen)
        if np.isnan([found.value, distance.value]).any():
            continue
        mark, colour = (REFERENCES[rule], GREY) if rule in REFERENCES else look_of(rule)
        axes.errorbar(
            distance.value,
            found.value,
            xerr=whiskers(distance),
            yerr=whiskers(found),
            fmt=mark,
            color=colour,
            markersize=7 if mark == "*" else 4,
            markerfacecolor="white" if rule in REFERENCES else colour,
            elinewidth=0.5,
            label=rule,
        )
        if rule == "reconstruction":
            axes.axvline(distance.value, color=GREY, linewidth=0.6, linestyle=":", zorder=0)


def number_marks(axes: Axes, rules: list[str]) -> None:
    """Write each rule's number beside its mark."""
    points = {
        container.get_label(): (float(container[0].get_xdata()[0]), float(container[0].get_ydata()[0]))
        for container in axes.containers
    }
    scale = 72 / axes.figure.dpi
    centres = {rule: axes.transData.transform(point) * scale for rule, point in points.items()}
    offsets = spread({rule: centres[rule] for rule in rules if rule in centres}, list(centres.values()))
    for rule, offset in offsets.items():
        axes.annotate(
            str(rules.index(rule) + 1),
            points[rule],
            xytext=offset,
            textcoords="offset points",
            fontsize=6,
            color=look_of(rule)[1],
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=1.5, foreground="white")],  # to be read across a whisker
            arrowprops={"arrowstyle": "-", "color": look_of(rule)[1], "linewidth": 0.4, "shrinkA": 2, "shrinkB": 2}
            if offset in FAR
            else None,
        )


def spread(centres: dict[str, np.ndarray], marks: list[np.ndarray]) -> dict[str, tuple[float, float]]:
    """For each name the first place, from its centre, that is apart from all marks and from the numbers before it."""
    taken, chosen = [(np.asarray(mark), FROM_MARK) for mark in marks], {}
    for name in sorted(centres, key=lambda name: tuple(centres[name])):
        free = (
            place
            for place in [*NEAR, *FAR]
            if all((np.abs(centres[name] + place - other) >= apart).any() for other, apart in taken)
        )
        chosen[name] = next(free, NEAR[0])
        taken.append((centres[name] + chosen[name], FROM_NUMBER))
    return chosen


def write_key(axes: Axes, rules: list[str]) -> None:
    """The numbers' names, by group, in the group's colour."""
    axes.set_axis_off()
    entries = [(mark, GREY, "white", name_of(rule)) for rule, mark in REFERENCES.items()]
    for number, rule in enumerate((rule for members in grouped(rules).values() for rule in members), start=1):
        mark, colour = look_of(rule)
        entries.append((mark, colour, colour, f"{number}  {name_of(rule)}"))
    handles = [
        plt.Line2D([], [], color=colour, marker=mark, markerfacecolor=face, linestyle="", label=text)
        for mark, colour, face, text in entries
    ]
    axes.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(-0.1, 0.5),
        fontsize=6.5,
        labelspacing=0.25,
        handletextpad=0.2,
        labelcolor=[colour for _, colour, *_ in entries],
    )
