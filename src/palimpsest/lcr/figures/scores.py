"""The codes that speak most for the concept, by log-odds, and where the published ratio ranks them."""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.lcr.figures._common import colour_of
from palimpsest.lcr.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import GREY, PAGE

INPUTS = ("<results>/lcr/{main_preset}/{model}/scores.parquet",)
PARAMS = {"models": None}

TOP = 20


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """Per model: effect against significance of every live code; the first codes with intervals. inputs: scores."""
    models = params["models"]
    figure, panels = plt.subplots(
        2, len(models), figsize=(PAGE, 4.6), squeeze=False, gridspec_kw={"height_ratios": [1, 1.05]}
    )
    for column, (model, path) in enumerate(zip(models, inputs, strict=True)):
        scores = pd.read_parquet(path)
        scores = scores[(scores["contrast"] == "masked") & scores["live"]]
        odds = scores[scores["score"] == "log_odds"].set_index("code")
        ratio = scores[scores["score"] == "ratio_legacy"].set_index("code")
        colour = colour_of(model, models)
        axes = panels[0, column]
        chosen = (odds["q"] <= 0.05) & (odds["z"] > 0)
        legacy = ratio.nsmallest(int(chosen.sum()), "rank").index
        axes.scatter(odds["value"], odds["z"], s=4, color=GREY, linewidth=0, label="live codes")
        axes.scatter(odds["value"][chosen], odds["z"][chosen], s=6, color=colour, linewidth=0, label="5 % FDR")
        axes.scatter(
            odds["value"][legacy],
            odds["z"][legacy],
            s=18,
            facecolors="none",
            edgecolors="black",
            linewidth=0.5,
            label="as many by raw ratio",
        )
        axes.set(title=name_of(model), xlabel="log-odds for the concept (nats)", ylabel="z" if column == 0 else "")
        axes.legend(loc="lower right", handletextpad=0.2)
        axes = panels[1, column]
        first = odds.nsmallest(TOP, "rank")
        places = range(len(first))
        errors = [(first["value"] - first["low"]).clip(lower=0), (first["high"] - first["value"]).clip(lower=0)]
        axes.errorbar(places, first["value"], yerr=errors, fmt="o", color=colour, markersize=3, linewidth=0.8)
        for place, code in zip(places, first.index, strict=True):
            text = f"{int(ratio.loc[code, 'rank'])}"
            axes.annotate(text, (place, 0.02), xycoords=("data", "axes fraction"), ha="center", fontsize=6, rotation=90)
        axes.set_xticks(list(places), [str(code) for code in first.index], rotation=90)
        axes.margins(y=0.3)
        axes.set(xlabel="code, by z (above the axis: its rank by raw ratio)", ylabel="log-odds" if column == 0 else "")
    return figure
