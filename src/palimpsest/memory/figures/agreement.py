"""Erasure against memory: whether what prompts, or attacks, still show goes with what the audit finds."""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.memory.names import name_of
from palimpsest.report.looks import look_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import GREY, PAGE

INPUTS = ("<results>/memory/{first_model}/compared/points.parquet",)
PARAMS = {"methods": None, "concepts": None}

SHOWN = {
    "erased": "not shown by prompts",
    "recovered_searched": "shown by searched words",
    "recovered_inverted": "shown by a learned word",
}
MARKERS = "osD^vP"


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """Panels: by prompts, and by each attack on them; a mark is an edited model, its form the concept."""
    points = pd.read_parquet(inputs[0])
    shown = [name for name in SHOWN if name in points]
    colours = [look_of(method).color for method in params["methods"]]
    figure, panels = plt.subplots(1, len(shown), figsize=(PAGE, 2.9), sharey=True, squeeze=False)
    for panel, name in zip(panels[0], shown, strict=True):
        for number, concept in enumerate(params["concepts"]):
            for place, (method, colour) in enumerate(zip(params["methods"], colours, strict=True)):
                part = points[(points["method"] == method) & (points["concept"] == concept)]
                panel.plot(
                    100 * part[name],
                    part["shift"],
                    MARKERS[number % len(MARKERS)],
                    color=colour,
                    markerfacecolor="none" if colour in colours[:place] else None,  # kin share a colour
                    label=name_of(method) if number == 0 else None,
                )
            if panel is panels[0][0]:
                panel.plot(
                    [],
                    [],
                    MARKERS[number % len(MARKERS)],
                    color="black",
                    markerfacecolor="none",
                    label=name_of(concept),
                )
        panel.axhline(0, color=GREY, linewidth=0.6, zorder=0)
        panel.set(xlabel=f"{SHOWN[name]} (%)", xlim=(-4, 104))
    panels[0][0].set_ylabel("shift of the concept’s seeds (sd of N)")
    handles, labels = panels[0][0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside right center", fontsize=6)
    return figure
