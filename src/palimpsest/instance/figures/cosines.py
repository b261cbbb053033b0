"""How often the gradients conflict while methods train: the cosine at every step."""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.instance.names import name_of
from palimpsest.report.style import COLUMN, GREY, PALETTE


def draw(inputs: list[Path], params: dict) -> Figure:
    """inputs: the step logs of the methods params["methods"], in that order."""
    shown = params["methods"]
    figure, panels = plt.subplots(len(shown), 1, figsize=(COLUMN, 0.62 * len(shown) + 0.5), sharex=True, squeeze=False)
    for number, (axes, method, path) in enumerate(zip(panels[:, 0], shown, inputs, strict=True)):
        cosine = pd.read_parquet(path)["cosine"].dropna()
        axes.hist(cosine, bins=41, range=(-1, 1), color=PALETTE[number % len(PALETTE)])
        axes.axvline(0, color=GREY, linestyle=":")
        axes.set(yticks=[])
        axes.set_title(f"{name_of(method)}: {(cosine < 0).mean():.0%} of steps conflict", loc="left", pad=2)
    panels[-1, 0].set(xlabel="cosine of forget and remember gradient", xlim=(-1, 1))
    return figure
