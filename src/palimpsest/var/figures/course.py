"""The course of a training: token losses by scale before, during and after, how many tokens the filter keeps, and what
is erased.

Marked is the stop that the filter suggests: the first length at which no more is kept than by chance.
"""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.report.erased_figures import spread
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE, PALETTE
from palimpsest.var.names import name_of
from palimpsest.var.scales_measured import sides_of

MEASUREMENTS = ("token_maps", "course")
INPUTS = ("<results>/var/{first_model}/token_maps/maps.npz",)
PARAMS = {"models": None, "studies": ["course"]}
OPTIONAL = ("steps_to_floor",)

MARKERS = "osD^vP*X"
ERASED = "#7f7f7f"


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """A block for each concept: rows are times, columns scales, a cell a token; at its right what is kept."""
    model, study = params["models"][0], params["studies"]["course"]
    sizes, times = sides_of(lookup.of(model=model), "kept_tokens"), [option["name"] for option in study["options"]]
    steps = [0, *(option["training"]["steps"] for option in study["options"])]
    rows, concepts = ["before", *times, "floor"], study["concepts"]
    figure = plt.figure(figsize=(PAGE, 0.42 * len(rows) * len(concepts) + 0.7))
    with np.load(inputs[0]) as file:
        maps = {name: file[name] for name in file.files}
    highest = max(values.max() for values in maps.values())
    for block, concept in zip(np.atleast_1d(figure.subfigures(len(concepts), 1)), concepts, strict=True):
        left, right = block.subfigures(1, 2, width_ratios=[1.6, 1])
        cells = left.subplots(len(rows), len(sizes), squeeze=False)
        for line, time in zip(cells, rows, strict=True):
            start = 0
            for axis, side in zip(line, sizes, strict=True):
                part = maps[f"{concept}.{time}"][start : start + side**2].reshape(side, side)
                start += side**2
                shown = axis.imshow(part, vmin=0, vmax=highest, cmap="viridis")
                axis.set_xticks([])
                axis.set_yticks([])
            line[0].set_ylabel(said(time), rotation=0, ha="right", va="center", fontsize=6)
        for axis, side in zip(cells[0], sizes, strict=True):
            axis.set_title(f"{side} × {side}", fontsize=6)
        bar = left.colorbar(shown, ax=cells, shrink=0.8)
        bar.set_label("loss of a symbol (nats)", fontsize=6)
        axes = right.subplots()
        lines = [*zip(map(str, sizes), PALETTE, MARKERS, strict=False), ("all", "black", "")]
        for scale, colour, marker in lines:
            here = lookup.of(model=model, concept=concept, scale=scale)
            values = [100 * here.get("kept_tokens", setting=time).value for time in ("before", *times)]
            axes.plot(steps, values, marker=marker, markersize=3, linewidth=0.8, color=colour, label=scale)
            floor = 100 * here.get("kept_tokens", setting="floor").value
            axes.axhline(floor, color=colour, linestyle=":", linewidth=0.8)
        here = lookup.of(model=model, concept=concept)
        gaps = [here.get("kept_above_floor", setting=time) for time in ("before", *times)]
        axes.errorbar(
            steps, values, yerr=spread(*gaps), fmt="none", color="black", linewidth=0.8
        )  # at those of all scales
        gone = here.of(study="course", prompts="own")
        erased = [gone.get("erased", setting=time) for time in times]
        heights, look = [100 * each.value for each in erased], {"color": ERASED, "linestyle": "-.", "linewidth": 1.2}
        axes.errorbar(steps[1:], heights, yerr=spread(*erased), label="erased", **look)
        stop, reached = (here.get(name) for name in ("steps_to_floor", "floor_reached"))
        axes.axvline(stop.value, color="black", linestyle="--", linewidth=0.8)
        axes.set_title(f"{name_of(concept)}: {stopped(stop.value, reached.value, len(study['seeds']))}", fontsize=7)
        axes.set_xlabel("steps")
        axes.set_ylabel("tokens kept by the filter, and prompts erased (%)", fontsize=6)
        right.legend(*axes.get_legend_handles_labels(), title="side", fontsize=6, title_fontsize=6, loc="outside right")
    return figure


def stopped(steps: float, reached: float, seeds: int) -> str:
    """The stop that the floor suggests, in words; reached: in which share of the seeds."""
    if not reached:
        return "never down to the floor"
    return f"on the floor after {steps:.0f} steps" + (f" ({reached * seeds:.0f} of {seeds} seeds)" if seeds > 1 else "")


def said(time: str) -> str:
    """What a row shows."""
    return {"before": "before", "floor": "floor"}.get(time, time.replace("_", " "))
