"""Which scales, tokens and bits carry a concept: what pictures show after an exchange, and after code replacement."""

import math
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE, PALETTE
from palimpsest.var.names import name_of

MEASUREMENTS = ("exchange",)
PARAMS = {"models": None, "studies": ["comparison"]}

PLACES = {"centre": "\ncentre", "border": "\n\nborder"}
LETTERS = 108  # of ticks at the width of the page
# What is shown in a row, and of which parts and kinds: label, part, kind, marker.
EXCHANGED = (
    ("the concept’s, put into the safe picture", "", "put", "o"),
    ("the safe picture’s, put into the concept’s", "", "taken", "s"),
)
REPLACED = (
    ("what tells the concept at a scale, replaced", "", "replaced", "D"),
    ("what tells it at a place of a scale, replaced", "placed_", "replaced", "^"),
)
# Of what a rule replaces a share: the prefix of its parts, and what it is.
RULES = {"symbols": "bits", "tokens": "whole tokens"}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """A row for scales and places, prefixes, bits and rules, a panel for each concept; bars are 95 % intervals."""
    model, concepts = params["models"][0], params["studies"]["comparison"]["concepts"]
    known = set(lookup.of(model=model).rows("shows")["part"])
    sizes, bits = (ending(known, f"{kind}_") for kind in ("scale", "bit"))
    sides, tops = [f"{each:g}" for each in sizes], ending(known, "tokens_")
    rows = {
        "tokens of one scale,\nor of one place": (
            [*(f"scale_{side}" for side in sides), *PLACES],
            [*sides, *PLACES.values()],
            "the scale’s side (tokens), or the place",
        ),
        "tokens of all scales\nup to one": (
            [f"up_to_{side}" for side in sides],
            sides,
            "the last scale’s side (tokens)",
        ),
        "one bit of all tokens": (
            [f"bit_{each:g}" for each in bits],
            [f"{each:g}" for each in bits],
            "the bit’s number",
        ),
    }
    asked = {kind: title for kind, title in RULES.items() if f"{kind}_{tops[0]}" in known}
    apart = set(PLACES)
    if len(tops) > 1:
        ticks = ["all" if top == 1 else f"{100 * top:g}" for top in tops]
        for kind, title in asked.items():
            rows[f"a share (%) of the {title}\nthat tell the concept"] = (
                [f"{kind}_{top}" for top in tops],
                ticks,
                "share (%)",
            )
    else:
        parts = [f"{kind}_{tops[0]}" for kind in asked]
        apart |= set(parts)
        rows["a share of what\ntells the concept"] = (
            parts,
            [f"{100 * tops[0]:g} % of\nthe {each}" for each in asked.values()],
            "",
        )
    rows = {title: each for title, each in rows.items() if each[0]}
    figure, axes = plt.subplots(
        len(rows), len(concepts), figsize=(PAGE, 1.45 * len(rows) + 0.6), sharey=True, squeeze=False
    )
    for line, (title, (parts, ticks, across)) in zip(axes, rows.items(), strict=True):
        # Ticks of several lines stand apart.
        letters = max(1, sum(len(tick) + 1 for tick in ticks if "\n" not in tick))
        kinds = REPLACED if parts[0].startswith(tuple(RULES)) else EXCHANGED
        for axis, concept in zip(line, concepts, strict=True):
            panel(axis, lookup.of(model=model, concept=concept), parts, kinds, apart)
            shown = range(0, len(ticks), math.ceil(letters * len(concepts) / LETTERS))
            axis.set_xticks(shown, [ticks[tick] for tick in shown], fontsize=6)
            axis.set_xlim(-0.5, len(ticks) - 0.5)
            axis.set_xlabel(across, fontsize=6)
        line[0].set_ylabel(f"{title}:\nshow the concept (%)", fontsize=6)
    for axis, concept in zip(axes[0], concepts, strict=True):
        axis.set_title(name_of(concept), fontsize=8)
    handles = {label: handle for axis in (axes[0][0], axes[-1][0]) for handle, label in labelled(axis)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, fontsize=6)
    return figure


def panel(axis: Axes, here: Lookup, parts: list[str], kinds: tuple, apart: set[str]) -> None:
    """What pictures show after each part was changed, by kind; dotted and white: the null.

    apart: parts that have no order, to which no line leads.
    """
    for number, (label, prefix, kind, marker) in enumerate(kinds):
        for style, suffix, shift in (("-", "", -0.09), (":", "_null", 0.09)):
            found = [here.get("shows", part=f"{prefix}{part}", kind=f"{kind}{suffix}") for part in parts]
            middle, low, high = 100 * np.array([list(each) for each in found]).T
            gaps = np.ma.masked_where(np.isin(parts, list(apart)), middle)
            across, look = (
                np.arange(len(parts)) + shift + 0.05 * number,
                {"color": PALETTE[number + 2 * (kinds is REPLACED)]},
            )
            axis.plot(across, gaps, linestyle=style, linewidth=0.8, **look)
            axis.errorbar(
                across,
                middle,
                yerr=[middle - low, high - middle],
                fmt=marker,
                markerfacecolor="white" if suffix else None,
                markersize=3,
                elinewidth=0.8,
                label=None if suffix else label,
                **look,
            )


def labelled(axis: Axes) -> list[tuple]:
    """The lines of a panel that have a label, with it."""
    return list(zip(*axis.get_legend_handles_labels(), strict=True))


def ending(parts: set[str], prefix: str) -> list[float]:
    """The numbers at the end of the parts of a kind, ascending."""
    return sorted(float(part.removeprefix(prefix)) for part in parts if part.startswith(prefix))
