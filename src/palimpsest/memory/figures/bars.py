"""PSNR of reconstructed pictures of each concept, and how far their seeds are from ordinary ones, by model."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from palimpsest.memory.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import GREY, PAGE, PALETTE

MEASUREMENTS = ("audit",)
PARAMS = {"models": None, "methods": None, "concepts": None, "oracles": None}

NETWORKS = ("pretrained", "oracle", "random", "zero")
MARKERS = "osD^vP"
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
LINE = 25.0  # dB: what the source calls a good reconstruction


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """Left to right: networks that are not edited, then edits; a mark for each concept."""
    here = lookup.of(model=params["models"][0], set="concept", caption="own")
    names = [*NETWORKS, *params["methods"]]
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(PAGE, 4.0), sharex=True)
    marked(top, here, names, params["concepts"], "psnr", {})
    for number, concept in enumerate(params["concepts"]):
        ceiling = here.get("ceiling", method="pretrained", concept=concept)
        top.axhline(ceiling.value, color=PALETTE[number], linewidth=0.6, linestyle=":", zorder=0)
    top.axhline(LINE, color="black", linewidth=0.8, linestyle="--", label="25 dB (source)", zorder=0)
    top.set(ylabel="PSNR (dB)")
    top.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=6)
    marked(bottom, here, names, params["concepts"], "w1_ratio", {"reference": "neutral"})
    bottom.axhline(1, color="black", linewidth=0.8, linestyle="--", zorder=0)
    bottom.set(ylabel="relative distance $d_N$", yscale="log")
    ticks = [tick for tick in TICKS if bottom.get_ylim()[0] < tick < bottom.get_ylim()[1]]
    bottom.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    bottom.yaxis.set_minor_locator(NullLocator())
    bottom.set_xticks(range(len(names)), [name_of(name) for name in names], rotation=35, ha="right")
    for axes in (top, bottom):
        axes.axvline(len(NETWORKS) - 0.5, color=GREY, linewidth=0.6)
    return figure


def marked(axes: Axes, lookup: Lookup, names: list[str], concepts: list[str], metric: str, labels: dict) -> None:
    """A mark with its interval for each model and concept."""
    width = 0.7 / len(concepts)
    for number, concept in enumerate(concepts):
        found = [lookup.get(metric, method=name, concept=concept, **labels) for name in names]
        value, low, high = (np.array([getattr(each, part) for each in found]) for part in ("value", "low", "high"))
        places = np.arange(len(names)) + width * (number - (len(concepts) - 1) / 2)
        look = {"color": PALETTE[number], "fmt": MARKERS[number % len(MARKERS)], "elinewidth": 0.7, "markersize": 3}
        axes.errorbar(places, value, yerr=[value - low, high - value], label=name_of(concept), **look)
