"""How far a replaced block of codes changes the picture, through four decoders."""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.lcr.names import name_of
from palimpsest.lcr.tables.locality import DECODERS
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import COLUMN, GREY, PALETTE

INPUTS = ("<results>/lcr/{main_preset}/{model}/locality/curves.parquet",)
PARAMS = {"models": None, "block": 1}

FLOOR = 1e-3  # grey levels: less is drawn here
DASHES = ("-", "--", "-.", (0, (1, 1)))


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """One panel per model for the block of params["block"] cells. inputs: each model's curves."""
    models = params["models"]
    figure, panels = plt.subplots(
        len(models), 1, figsize=(COLUMN, 1.8 * len(models) + 0.4), sharex=True, sharey=True, squeeze=False
    )
    for axes, model, path in zip(panels[:, 0], models, inputs, strict=True):
        curves = pd.read_parquet(path)
        curves = curves[curves["block"].astype(str) == str(params["block"])]
        axes.axhline(FLOOR, color=GREY, linewidth=0.6, zorder=0)
        for colour, dashes, (decoder, called) in zip(PALETTE, DASHES, DECODERS.items(), strict=False):
            part = curves[curves["decoder"] == decoder]
            ends = [part[end].clip(lower=FLOOR) for end in ("low", "high")]
            axes.fill_between(part["r_pixels"], *ends, color=colour, alpha=0.18, linewidth=0)
            change = part["change"].clip(lower=FLOOR)
            axes.plot(part["r_pixels"], change, color=colour, linestyle=dashes, label=called, clip_on=False)
        axes.set(title=name_of(model), ylabel="change (grey levels)", yscale="log")
        axes.set_ylim(bottom=FLOOR / 2)
        axes.annotate(
            f"drawn at {FLOOR:g}: less", (0.02, FLOOR), (0, 2), ("axes fraction", "data"), "offset points", fontsize=6.5
        )
    panels[-1, 0].set_xlabel("distance r from the block (pixels)")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
