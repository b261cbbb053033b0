"""The solver study: residual and PSNR against evaluations, and where each solver puts the seeds."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from palimpsest.memory.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import GREY, PAGE, PALETTE

INPUTS = ("<results>/memory/{first_model}/solvers/curves.parquet",)
PARAMS = {"models": None}

MARKERS = "osD^vPX"
WAY = ["solver", "steps", "iterations"]


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """Left to right: residual (median over pictures), PSNR (mean), z of each picture's seed at its best setting."""
    rows = pd.read_parquet(inputs[0])
    usual = {"guidance": "1", "start": "released", "precision": "float32"}
    rows = rows[(rows[list(usual)] == pd.Series(usual)).all(axis=1)]
    figure, panels = plt.subplots(1, 3, figsize=(PAGE, 2.6), width_ratios=(1, 1, 1.15))
    solvers = sorted(rows["solver"].unique())
    for number, name in enumerate(solvers):
        part = rows[rows["solver"] == name]
        means = part.groupby(WAY).agg(evaluations=("evaluations", "mean"), residual=("residual", "median"))
        means = means.assign(psnr=part.groupby(WAY)["psnr"].mean()).sort_values("evaluations")
        look = {"color": PALETTE[number], "marker": MARKERS[number], "markersize": 3.5}
        panels[0].plot(means["evaluations"], means["residual"], label=name_of(name), **look)
        panels[1].plot(means["evaluations"], means["psnr"], **look)
        chosen = part[
            part["evaluations"].groupby([part[key] for key in WAY]).transform("mean").eq(means["evaluations"].max())
        ]
        spread = np.linspace(-0.25, 0.25, len(chosen))
        shown = {**look, "markersize": 3, "linestyle": "none", "alpha": 0.8}
        panels[2].plot(number + spread, chosen["z"], **shown)
        panels[2].plot([number - 0.32, number + 0.32], [chosen["z"].mean()] * 2, color="black", linewidth=1)
    panels[0].set(xlabel="evaluations", ylabel="residual (rms)", xscale="log", yscale="log")
    panels[1].axhline(rows["ceiling"].mean(), color="black", linewidth=0.8, linestyle=":")
    panels[1].set(xlabel="evaluations", ylabel="PSNR (dB)", xscale="log")
    for axes in panels[:2]:
        axes.xaxis.set_minor_formatter(NullFormatter())
    panels[2].axhspan(-1.96, 1.96, color=GREY, alpha=0.25, linewidth=0)
    panels[2].set(ylabel="z of the seeds")
    panels[2].set_xticks(range(len(solvers)), [name_of(name) for name in solvers], rotation=40, ha="right")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(solvers))
    return figure
