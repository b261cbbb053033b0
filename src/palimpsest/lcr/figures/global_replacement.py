"""Replacing the first K codes everywhere: what is left of the concept, and what pictures without it lose."""

from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.lcr.figures._common import MARKERS, colour_of, curve
from palimpsest.lcr.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE

MEASUREMENTS = ("reconstruction", "sweep")
PARAMS = {"models": None, "rules": ["random_safe", "masked_requant"], "sets": ["forget_test", "safe_test"]}
# Photographs have no classifier that gives it.
OPTIONAL = ("lpips_mini",)

PANELS = (
    ("detection_rate", "forget_test", "concept still found"),
    ("cells_changed", "safe_test", "cells changed, safe images"),
    ("ssim", "safe_test", "SSIM, safe images"),
    ("lpips_mini", "safe_test", "lpips_mini, safe images"),
)


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """Panels: suppression, collateral, distances; lines: models and rules. params: models, rules, sets.

    A distance that was not measured (photographs have no lpips_mini) has no panel.
    """
    models = params["models"]
    measured = [panel for panel in PANELS if len(lookup.rows(panel[0], scope="global"))]
    figure, panels = plt.subplots(1, len(measured), figsize=(PAGE, 2.2))
    for axes, (metric, side, title) in zip(panels, measured, strict=True):
        for model in models:
            for rule, dashes in zip(params["rules"], ("-", "--", ":", "-."), strict=False):
                labels = {"model": model, "method": rule, "scope": "global", "set": params["sets"][side]}
                rows = lookup.rows(metric, **labels)
                rows = rows[rows["top"] != ""]
                label = f"{name_of(model)}, {name_of(rule)}"
                look = {"color": colour_of(model, models), "marker": MARKERS[models.index(model) % len(MARKERS)]}
                curve(axes, rows, "top", linestyle=dashes, label=label, markersize=3, clip_on=False, **look)
            if metric == "detection_rate":
                plain = lookup.get(metric, model=model, method="reconstruction", set=params["sets"]["forget_test"])
                for share, width in ((1, 0.6), (0.5, 0.9)):  # where half of the detections are gone
                    axes.axhline(share * plain.value, color=colour_of(model, models), linewidth=width, linestyle=":")
        axes.set(xscale="log", xlabel="codes replaced, K", title=title)
        axes.set_ylim(bottom=0)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
