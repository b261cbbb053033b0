"""Which scales and bits carry a concept: what pictures show after an exchange of tokens, beside its null."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE, PALETTE
from palimpsest.var.names import name_of

MEASUREMENTS = ("exchange",)
PARAMS = {"models": None, "studies": ["comparison"], "sizes": None}

PARTS = {"scale": "of one scale", "up_to": "of all scales up to it"}
KINDS = {
    "put": ("of the concept, put into the safe picture", "o", "-"),
    "put_null": ("of another safe picture, put into it", "o", ":"),
    "taken": ("of the concept, taken out of its picture", "s", "-"),
    "taken_null": ("taken out for another pair’s", "s", ":"),
}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """A row for single scales and one for prefixes, a panel for each concept; bars are 95 % intervals over pairs."""
    model, concepts = params["models"][0], params["studies"]["comparison"]["concepts"]
    sizes = params["sizes"][model]
    figure, axes = plt.subplots(len(PARTS), len(concepts), figsize=(PAGE, 3.6), sharex=True, sharey=True, squeeze=False)
    for line, (part, title) in zip(axes, PARTS.items(), strict=True):
        for axis, concept in zip(line, concepts, strict=True):
            for number, (kind, (label, marker, style)) in enumerate(KINDS.items()):
                here = lookup.of(model=model, concept=concept, kind=kind)
                found = [here.get("shows", part=f"{part}_{side}") for side in sizes]
                middle, low, high = 100 * np.array([list(each) for each in found]).T
                axis.errorbar(
                    np.arange(len(sizes)) + 0.06 * (number - 1.5),
                    middle,
                    yerr=[middle - low, high - middle],
                    marker=marker,
                    linestyle=style,
                    color=PALETTE[number // 2],
                    markersize=3,
                    linewidth=0.8,
                    label=label,
                )
            axis.set_xticks(range(len(sizes)), [str(side) for side in sizes])
        line[0].set_ylabel(f"tokens {title}:\nshow the concept (%)", fontsize=7)
    for axis, concept in zip(axes[0], concepts, strict=True):
        axis.set_title(name_of(concept), fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("side of the scale (tokens)")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
