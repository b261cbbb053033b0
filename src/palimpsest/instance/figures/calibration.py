"""What similarities mean: of the descriptor on same and different people, and of two models' reconstructions."""

from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.instance.figures._common import limit
from palimpsest.instance.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import COLUMN, GREY, PALETTE

INPUTS = ("<results>/judges/faces_cosines.parquet", "<results>/instance/{model}/membership/curves.parquet")
PARAMS = {"judges": None, "wanted": 0.9}

LOOKS = {
    "pretrained": {"color": "black", "marker": "o", "markersize": 3.5, "linewidth": 1.6},
    "oracle": {"color": PALETTE[1], "marker": "x", "markersize": 3.5, "linestyle": "--"},
}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """inputs: cosines of the judges, then the membership's curves of every model. params: `wanted` similarity."""
    cosines = pd.read_parquet(inputs[0])
    figure, (left, right) = plt.subplots(1, 2, figsize=(COLUMN, 2.2))
    for number, (pair, values) in enumerate(cosines.groupby("pair", sort=False)):
        sns.kdeplot(x=values["cosine"], ax=left, color=PALETTE[number], fill=True, alpha=0.3, label=pair, clip=(-1, 1))
    limit(left)
    left.set(xlabel=params["judges"]["descriptor"], ylabel="density", yticks=[])
    left.legend(loc="lower left", handlelength=1, bbox_to_anchor=(-0.05, 1.0))
    for path in inputs[1:]:
        curves = pd.read_parquet(path)
        curves = curves[curves["copies"] == "once"]
        for _, part in curves[curves["network"] == "pretrained"].groupby("target"):
            right.plot(part["timestep"], part["value"], color=GREY, linewidth=0.6)
        for network, look in LOOKS.items():
            mean = curves[curves["network"] == network].groupby("timestep")["value"].mean()
            right.plot(mean.index, mean, label=name_of(network), **look)
    right.axhline(params["wanted"], color=PALETTE[2], linestyle=":", label="aim of the choice of t")
    right.set(xlabel="injection timestep t", ylabel="similarity", ylim=(None, 1.0))
    right.legend(loc="lower left", handlelength=1.8, bbox_to_anchor=(-0.05, 1.0))
    return figure
