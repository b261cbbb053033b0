"""The course of a training: token losses by scale before, during and after, and how many tokens the filter keeps."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE, PALETTE
from palimpsest.var.names import name_of
from palimpsest.var.scales_measured import sides_of

MEASUREMENTS = ("token_maps",)
INPUTS = ("<results>/var/{first_model}/token_maps/maps.npz",)
PARAMS = {"models": None, "studies": ["course"]}

MARKERS = "osD^vP*X"


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """A block for each concept: rows are times, columns scales, a cell a token; at its right what is kept."""
    model, study = params["models"][0], params["studies"]["course"]
    sizes, times = sides_of(lookup.of(model=model), "kept_tokens"), [option["name"] for option in study["options"]]
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
        for number, side in enumerate(sizes):
            here = lookup.of(model=model, concept=concept, scale=str(side))
            values = [100 * here.get("kept_tokens", setting=time).value for time in ("before", *times)]
            steps = [0, *(option["training"]["steps"] for option in study["options"])]
            colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
            axes.plot(steps, values, marker=marker, markersize=3, linewidth=0.8, color=colour, label=str(side))
            floor = 100 * here.get("kept_tokens", setting="floor").value
            axes.axhline(floor, color=colour, linestyle=":", linewidth=0.8)
        axes.set_xlabel("steps")
        axes.set_ylabel("kept tokens (%)")
        axes.set_title(name_of(concept), fontsize=8)
        right.legend(*axes.get_legend_handles_labels(), title="side", fontsize=6, title_fontsize=6, loc="outside right")
    return figure


def said(time: str) -> str:
    """What a row shows."""
    return {"before": "before", "floor": "floor"}.get(time, time.replace("_", " "))
