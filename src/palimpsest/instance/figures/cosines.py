"""How often the gradients conflict while methods train for one target: the cosine at every step."""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.instance.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import COLUMN, GREY, PALETTE
from palimpsest.report.typeset import Format, number

INPUTS = ("<results>/instance/{first_model}/comparison/{method}/log.parquet",)
PARAMS = {"methods": ["unpromptable", "neggrad_plus", "erasediff_port", "siss_no_is", "retrack"]}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """inputs: the step logs of the methods params["methods"], in that order."""
    shown = params["methods"]
    figure, panels = plt.subplots(len(shown), 1, figsize=(COLUMN, 0.62 * len(shown) + 0.5), sharex=True, squeeze=False)
    for index, (axes, method, path) in enumerate(zip(panels[:, 0], shown, inputs, strict=True)):
        log = of_one_target(pd.read_parquet(path)).dropna(subset="cosine")
        axes.hist(log["cosine"], bins=41, range=(-1, 1), color=PALETTE[index % len(PALETTE)])
        axes.axvline(0, color=GREY, linestyle=":")
        axes.set(yticks=[])
        rate = number(conflict_rate(log), Format(0, "percent"))
        axes.set_title(f"{name_of(method)}: {rate}\u2009% of steps conflict", loc="left", pad=2)
    panels[-1, 0].set(xlabel="cosine of forget and remember gradient", xlim=(-1, 1))
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
