"""What similarities mean: the descriptor on same and different people, and the pretrained model's own by timestep."""

from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.instance.figures._common import limit
from palimpsest.report.style import COLUMN, GREY, PALETTE


def draw(inputs: list[Path], params: dict) -> Figure:
    """inputs: cosines of the judges, then the injection curve of every model. params: `wanted` similarity."""
    cosines = pd.read_parquet(inputs[0])
    figure, (left, right) = plt.subplots(1, 2, figsize=(COLUMN, 2.1))
    for number, (pair, values) in enumerate(cosines.groupby("pair", sort=False)):
        sns.kdeplot(x=values["cosine"], ax=left, color=PALETTE[number], fill=True, alpha=0.3, label=pair, clip=(-1, 1))
    limit(left)
    left.set(xlabel=params["judges"]["descriptor"], ylabel="density", yticks=[])
    left.legend(loc="lower left", handlelength=1, bbox_to_anchor=(-0.05, 1.0))
    for path in inputs[1:]:
        curve = pd.read_parquet(path)
        for _, part in curve.groupby("target"):
            right.plot(part["timestep"], part["value"], color=GREY, linewidth=0.6)
        mean = curve.groupby("timestep")["value"].mean()
        right.plot(mean.index, mean, color="black", marker="o", markersize=2.5, label="mean of targets")
    right.axhline(params["wanted"], color=PALETTE[2], linestyle=":", label="wanted")
    right.set(xlabel="injection timestep t", ylabel="similarity, pretrained", ylim=(None, 1.0))
    right.legend(loc="lower left", handlelength=1.4, bbox_to_anchor=(-0.05, 1.0))
    return figure
