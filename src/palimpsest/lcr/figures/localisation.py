"""Localisation curves: how much of the concept's region a list of codes or patches covers, at which false hits."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.lcr.figures._common import lookup_of
from palimpsest.lcr.names import name_of
from palimpsest.report.style import COLUMN, GREY, PALETTE

UNITS = {"1x1": "single codes", "pair": "pairs", "2x2": "2 × 2", "3x3": "3 × 3"}


def draw(inputs: list[Path], params: dict) -> Figure:
    """One panel per model of params["models"]. inputs: the measurements, then each model's curves."""
    lookup, models = lookup_of(inputs), params["models"]
    figure, panels = plt.subplots(
        len(models), 1, figsize=(COLUMN, 2.3 * len(models)), sharex=True, sharey=True, squeeze=False
    )
    for axes, model, path in zip(panels[:, 0], models, inputs[1:], strict=True):
        points = pd.read_parquet(path)
        null = points[points["kind"] == "null"].pivot_table(index="false_hit", columns="unit", values="recall")
        axes.fill_between(null.index, null.min(axis=1), null.max(axis=1), color=GREY, alpha=0.35, linewidth=0)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.6, linestyle=":")
        for colour, (unit, called) in zip(PALETTE, UNITS.items(), strict=False):
            part = points[(points["unit"] == unit) & (points["kind"] == "measured")]
            area = lookup.get("localisation_auc", model=model, unit=unit)
            text = f"{called}: {area.value:.2f} [{area.low:.2f}, {area.high:.2f}]"
            axes.plot(part["false_hit"], part["recall"], color=colour, label=text)
        handles, texts = axes.get_legend_handles_labels()
        handles.append(plt.Rectangle((0, 0), 1, 1, color=GREY, alpha=0.35, linewidth=0))
        # The curves end in every corner: the legend stands on them, on a ground of its own.
        legend = axes.legend(
            handles, [*texts, "null: region moved"], title="area under the curve", loc="lower right", title_fontsize=7
        )
        legend.set(frame_on=True)
        legend.get_frame().set(facecolor="white", edgecolor="none", alpha=0.9)
        axes.set(title=name_of(model), ylabel="share of the region covered")
    panels[-1, 0].set(xlabel="false hits: share of cells of safe images", xlim=(0, 1), ylim=(0, 1))
    panels[-1, 0].set_xticks(np.linspace(0, 1, 6))
    return figure
