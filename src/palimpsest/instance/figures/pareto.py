"""Forgetting against integrity, every method with its own knob swept (the paper's figure 10)."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palimpsest.instance.figures._common import limit
from palimpsest.instance.names import name_of
from palimpsest.instance.published import LIMIT
from palimpsest.instance.tables._rows import worst_similarity
from palimpsest.report.looks import look_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import GREY, PAGE

MEASUREMENTS = ("tuning", "strength", "networks")
PARAMS = {"models": None, "methods": None, "judges": None}

PANELS = {"perceptual": "low is good", "ssim": "high is good", "frechet_pretrained": "low is good"}
NAMES = {"ssim": "SSIM", "perceptual": "{perceptual}", "frechet_pretrained": "{features}"}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """One panel per integrity metric; a line joins a method's settings, a ring marks the front left of the limit."""
    model = params["models"][0]
    figure, panels = plt.subplots(1, len(PANELS), figsize=(PAGE, 3.4))
    for axes, (metric, meaning) in zip(panels, PANELS.items(), strict=True):
        every = []
        for method in params["methods"]:
            here = lookup.of(model=model, method=method, study="tuning", targets="mean", count=1)
            settings = list(here.rows("similarity_target")["setting"].unique())
            tried = lookup.of(model=model, method=method, study="tuning")
            points = [(worst_similarity(tried, setting=s), here.get(metric, setting=s).value) for s in settings]
            every += draw_line(axes, sorted(points), name_of(method), **look_of(method)._asdict())
        here = lookup.of(model=model, method="unpromptable", study="strength", targets="mean", count=1)
        strengths = here.rows("similarity_target")["surrogate"].unique()
        points = [
            (here.get("similarity_target", surrogate=s).value, here.get(metric, surrogate=s).value) for s in strengths
        ]
        # On another target, so not among those that the front compares.
        look = {"color": look_of("unpromptable").color, "markerfacecolor": "white", "marker": "o"}
        draw_line(axes, sorted(points), "Unpromptable, edit strength", linestyle="--", **look)
        front = non_dominated(every, larger=metric == "ssim")
        axes.scatter(
            *zip(*front, strict=True) if front else ([], []),
            s=60,
            facecolors="none",
            edgecolors="black",
            linewidths=0.7,
            label="front, forgotten",
        )
        for which, look in (("pretrained", "+"), ("oracle", "x")):
            labels = {"model": model, "method": which, "study": "tuning", "targets": "mean", "count": 1}
            mean = [lookup.get(name, **labels).value for name in ("similarity_target", metric)]
            axes.plot(*mean, look, color="black", markersize=6, label=name_of(which), linestyle="none")
            axes.annotate(which, mean, (-6, 0), textcoords="offset points", fontsize=6, ha="right", va="center")
        limit(axes)
        if metric != "ssim":
            linear = 0.1 if metric == "perceptual" else 1
            axes.set_yscale("symlog", linthresh=linear)
            axes.axhline(linear, color=GREY, linewidth=0.5, zorder=0)
            axes.set_ylim(-0.3 * linear, 1.5 * np.nanmax([point[1] for point in every]))
        axes.set_xlabel(f"{params['judges']['descriptor']}, worst target")
        axes.set_ylabel(f"{NAMES[metric].format(**params['judges'])} ({meaning})")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, handlelength=1.8)
    return figure


def draw_line(axes: Axes, points: list, name: str, **look) -> list:
    """Draw a method's settings; gives the points back."""
    if points:
        axes.plot(*np.array(points).T, markersize=4, linewidth=0.8, label=name, **look)
    return points


def non_dominated(points: list[tuple[float, float]], larger: bool) -> list[tuple[float, float]]:
    """Of the points that forgot, those that no other beats in both respects."""
    sign = -1 if larger else 1
    good = [point for point in points if point[0] <= LIMIT and not np.isnan(point).any()]
    return [
        point for point in good if not any(other[0] <= point[0] and sign * other[1] < sign * point[1] for other in good)
    ]
