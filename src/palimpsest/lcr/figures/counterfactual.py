"""Which codes the classifier rests on, and how few cells take a safe image across its line."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.lcr.figures._common import colour_of
from palimpsest.lcr.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import COLUMN

INPUTS = (
    "<results>/lcr/{main_preset}/{model}/counterfactual/importance.parquet",
    "<results>/lcr/{main_preset}/{model}/counterfactual/greedy.parquet",
)
PARAMS = {"models": None}

RULES = {"best": "-", "legacy": "--"}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """inputs: for every model its importance table and its table of flips, in the order of params["models"]."""
    models = params["models"]
    figure, (above, below) = plt.subplots(2, 1, figsize=(COLUMN, 4.3))
    every = [pd.read_parquet(path) for path in inputs[1::2]]
    longest = max([1, *pd.concat(every).query("reached")["flips"]])  # where every curve ends
    for model, importance_path, flips in zip(models, inputs[::2], every, strict=True):
        colour = colour_of(model, models)
        importance = pd.read_parquet(importance_path)
        importance = importance[importance["baseline"] == "frequent"]
        loss = np.sort(-importance["logit_change"].clip(upper=0))[::-1]
        above.plot(
            np.arange(1, len(loss) + 1),
            loss.cumsum() / max(loss.sum(), 1e-12),
            color=colour,
            label=name_of(model),
            clip_on=False,
        )
        for rule, dashes in RULES.items():
            part = flips[flips["rule"] == rule]
            counts = np.bincount(part.loc[part["reached"], "flips"], minlength=longest + 1).cumsum() / max(len(part), 1)
            called = "cheapest cells" if rule == "best" else "published rule"
            below.step(
                np.arange(len(counts)),
                counts,
                where="post",
                clip_on=False,
                color=colour,
                linestyle=dashes,
                label=f"{name_of(model)}, {called}",
            )
    above.set(xscale="log", xlabel="codes, most important first", ylabel="share of the total\nloss of logit")
    above.set_ylim(0, 1)
    above.legend(loc="lower right")
    below.set(xlabel="cells changed", ylabel="safe images called\nconcept")
    below.set_ylim(0, 1)
    figure.legend(*below.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
