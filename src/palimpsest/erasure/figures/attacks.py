"""What attacks bring back: for each attack the share of pictures that show the concept, method by method."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.erasure.names import name_of
from palimpsest.erasure.tables._rows import of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE, PALETTE

MEASUREMENTS = ("comparison", "networks")
PARAMS = {"models": None, "methods": None, "oracles": None}

TITLES = {
    "own": "by name",
    "synonym": "synonym",
    "template": "other order",
    "searched": "searched word",
    "inverted": "inverted word",
    "noised": "noised",
    "completed": "completed",
}
LINES = {"pretrained": "-", "oracle": "--"}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """A panel for each attack, rows: methods; bars are 95 % intervals over pictures; lines: what was never erased."""
    model, methods = params["models"][0], params["methods"]
    figure, panels = plt.subplots(1, len(TITLES), figsize=(PAGE, 0.17 * len(methods) + 1.0), sharex=True, sharey=True)
    places = np.arange(len(methods))[::-1]
    for axes, (attack, title) in zip(panels, TITLES.items(), strict=True):
        found = [of(lookup, model, method).get("recovered", prompts=attack, concept="all") for method in methods]
        values, low, high = (100 * np.array([getattr(each, key) for each in found]) for key in ("value", "low", "high"))
        axes.errorbar(
            values, places, xerr=[values - low, high - values], fmt="o", color=PALETTE[0], markersize=3, linewidth=0.7
        )
        for network, line in LINES.items():
            if network == "pretrained" or params["oracles"][model]:
                share = of(lookup, model, network).get("recovered", prompts=attack, concept="all").value
                axes.axvline(100 * share, color="black", linestyle=line, linewidth=0.8, label=name_of(network))
        axes.set_title(title, fontsize=7)
        axes.set_xlim(-5, 105)
        axes.set_xticks([0, 50, 100])
    panels[0].set_yticks(places, [name_of(method) for method in methods], fontsize=7)
    figure.supxlabel("pictures that show the concept (%)", fontsize=8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(LINES))
    return figure
