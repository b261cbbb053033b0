"""Which scales and bits carry a concept: what pictures show after an exchange of tokens, beside its null."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE, PALETTE
from palimpsest.var.names import name_of

MEASUREMENTS = ("exchange",)
PARAMS = {"models": None, "studies": ["comparison"]}

PARTS = {"scale": "of one scale", "up_to": "of all scales up to it", "bit": "one bit of all"}
KINDS = {
    "put": ("the concept’s, put into the safe picture", "o", "-"),
    "put_null": ("another safe picture’s, put into it", "o", ":"),
    "taken": ("the safe picture’s, put into the concept’s", "s", "-"),
    "taken_null": ("another picture’s of the concept, put into it", "s", ":"),
}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """A row for single scales, prefixes and bits, a panel for each concept; bars are 95 % intervals over pairs."""
    model, concepts = params["models"][0], params["studies"]["comparison"]["concepts"]
    known = set(lookup.of(model=model).rows("shows")["part"])
    sizes, bits = (numbers(known, prefix) for prefix in ("scale_", "bit_"))
    parts = {name: title for name, title in PARTS.items() if name != "bit" or bits}
    figure, axes = plt.subplots(
        len(parts), len(concepts), figsize=(PAGE, 1.6 * len(parts) + 0.6), sharey=True, squeeze=False
    )
    for line, (part, title) in zip(axes, parts.items(), strict=True):
        places = bits if part == "bit" else sizes
        for axis, concept in zip(line, concepts, strict=True):
            for number, (kind, (label, marker, style)) in enumerate(KINDS.items()):
                here = lookup.of(model=model, concept=concept, kind=kind)
                found = [here.get("shows", part=f"{part}_{place}") for place in places]
                middle, low, high = 100 * np.array([list(each) for each in found]).T
                axis.errorbar(
                    np.arange(len(places)) + 0.06 * (number - 1.5),
                    middle,
                    yerr=[middle - low, high - middle],
                    marker=marker,
                    linestyle=style,
                    color=PALETTE[number // 2],
                    markersize=3,
                    linewidth=0.8,
                    label=label,
                )
            ticks = range(0, len(places), 1 + len(places) // 8)
            axis.set_xticks(ticks, [str(places[tick]) for tick in ticks], fontsize=6)
            axis.set_xlabel("bit" if part == "bit" else "side (tokens)", fontsize=7)
        line[0].set_ylabel(f"{title}:\nshow the concept (%)", fontsize=7)
    for axis, concept in zip(axes[0], concepts, strict=True):
        axis.set_title(name_of(concept), fontsize=8)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def numbers(parts: set[str], prefix: str) -> list[int]:
    """The numbers of the parts of a kind, ascending."""
    return sorted(int(part.removeprefix(prefix)) for part in parts if part.startswith(prefix))
