"""Where the forget loss acts, and where its gradient fights the other one, by timestep."""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.report.looks import LINES
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import COLUMN, GREY, PALETTE

INPUTS = (
    "<results>/instance/{first_model}/conflicts/shares.parquet",
    "<results>/instance/{first_model}/conflicts/cosines.parquet",
)

DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """inputs: the shares, the cosines."""
    shares, cosines = (pd.read_parquet(path) for path in inputs)
    figure, (left, right) = plt.subplots(1, 2, figsize=(COLUMN, 2.5))
    for number, ((form, value), curve) in enumerate(shares.groupby(["form", "value"], sort=False)):
        name = {"const": "constant", "power": f"((t+1)/T)^{value:g}", "capped_snr": f"SNR ≤ {value:g}"}.get(form, form)
        left.plot(curve["timestep"] + 1, curve["share"], label=name, color=LINES[number], linestyle=DASHES[number])
    left.set(xscale="log", xlabel="timestep t + 1", ylabel="forget loss below t, share", ylim=(0, 1.02))
    left.xaxis.set_major_formatter("{x:g}")
    for _, part in cosines.groupby("target"):
        right.plot(part["timestep"], part["cosine"], color=GREY, linewidth=0.6)
    mean = cosines.groupby("timestep")["cosine"].mean()
    right.plot(mean.index, mean, color="black", marker="o", markersize=2.5)
    right.axhline(0, color=PALETTE[3], linestyle=":")
    right.set(xlabel="timestep t", ylabel="cosine of forget and\nremember gradient")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, handlelength=2.2)
    return figure
