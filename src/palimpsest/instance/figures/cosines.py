"""How often the gradients conflict while methods train for one target: the cosine at every step."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.instance.names import name_of
from palimpsest.report.looks import look_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import GREY, PAGE
from palimpsest.report.typeset import Format, number

INPUTS = ("<results>/instance/{first_model}/comparison/{method}/log.parquet",)
PARAMS = {"methods": None}

COLUMNS = 4


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """inputs: the step logs of the methods params["methods"], in that order; those with two gradients are drawn."""
    logs = {name: of_one_target(pd.read_parquet(path)) for name, path in zip(params["methods"], inputs, strict=True)}
    logs = {name: log.dropna(subset="cosine") for name, log in logs.items() if "cosine" in log}
    lines = -(-len(logs) // COLUMNS)
    figure, panels = plt.subplots(
        lines, COLUMNS, figsize=(PAGE, 1.05 * lines + 0.4), sharex=True, sharey=True, squeeze=False
    )
    for axes, (method, log) in zip(panels.flat, logs.items(), strict=False):
        share = np.full(len(log), 1 / max(len(log), 1))
        axes.hist(log["cosine"], bins=41, range=(-1, 1), weights=share, color=look_of(method).color)
        axes.axvline(0, color=GREY, linestyle=":")
        axes.set_title(f"{name_of(method)}: {number(conflict_rate(log), Format(0, 'percent'))}\u2009%", pad=2)
    for axes in panels.flat[len(logs) :]:
        axes.set_axis_off()
    panels[0, 0].set_xlim(-1, 1)
    figure.supxlabel("cosine of forget and remember gradient", fontsize=8)
    figure.supylabel("share of steps", fontsize=8)
    return figure


def of_one_target(log: pd.DataFrame) -> pd.DataFrame:
    """The steps that made models which forgot one target: of lists of one, or of the beginnings of longer ones.

    As in the tables; a model's folder is `<targets>.<surrogate>.<setting>.<seed>-<stage>`.
    """
    alone = ~log["model"].str.split(".").str[0].str.contains("+", regex=False)
    return log[alone] if alone.any() else log[log["model"].str.endswith("-1")]


def conflict_rate(log: pd.DataFrame) -> float:
    """The share of steps at which the gradients point against each other, the mean over models."""
    return float((log["cosine"] < 0).groupby(log["model"]).mean().mean())
