"""Localisation curves: how much of the concept's region a list of codes or patches covers, at which false hits."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.lcr.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import COLUMN, GREY, PALETTE
from palimpsest.report.typeset import Estimate

MEASUREMENTS = ("localise",)
INPUTS = ("<results>/lcr/{main_preset}/{model}/localise/curves.parquet",)
PARAMS = {"models": None}

UNITS = {"1x1": "single codes", "pair": "pairs", "2x2": "2 × 2", "3x3": "3 × 3"}
KINDS = {"measured": "-", "null": "--"}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """One panel per model of params["models"], each with the areas below it. inputs: its curves."""
    models = params["models"]
    figure, panels = plt.subplots(
        len(models), 1, figsize=(COLUMN, 2.85 * len(models)), sharex=True, sharey=True, squeeze=False
    )
    for axes, model, path in zip(panels[:, 0], models, inputs, strict=True):
        points = pd.read_parquet(path)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.6, linestyle=":")
        for colour, (unit, called) in zip(PALETTE, UNITS.items(), strict=False):
            for kind, dashes in KINDS.items():
                part = points[(points["unit"] == unit) & (points["kind"] == kind)]
                metric = "localisation_auc" if kind == "measured" else "localisation_auc_null"
                area = described(lookup.get(metric, model=model, unit=unit))
                text = f"{called}: {area}" if kind == "measured" else f"null: {area}"
                width = 1.2 if kind == "measured" else 0.8
                axes.plot(
                    part["false_hit"],
                    part["recall"],
                    color=colour,
                    linestyle=dashes,
                    linewidth=width,
                    label=text,
                    clip_on=False,
                )
        handles, texts = axes.get_legend_handles_labels()
        pairs = [*range(0, len(texts), 2), *range(1, len(texts), 2)]  # a column of measured, a column of nulls
        axes.legend(
            [handles[index] for index in pairs],
            [texts[index] for index in pairs],
            title="area under the curve",
            title_fontsize=7,
            fontsize=6.5,
            ncols=2,
            loc="upper center",
            bbox_to_anchor=(0.45, -0.26),
            columnspacing=1,
            handlelength=1.6,
        )
        axes.set(title=name_of(model), ylabel="share of the region covered", xlim=(0, 1), ylim=(0, 1))
        axes.set_xlabel("false hits: share of cells of safe images")
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.tick_params(labelbottom=True)
    return figure


def described(area: Estimate) -> str:
    """An area with its interval."""
    return f"{area.value:.2f} [{area.low:.2f}, {area.high:.2f}]"
