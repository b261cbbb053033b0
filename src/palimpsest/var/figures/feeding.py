"""What the transformer is fed, and what it says of safe tokens: by scale their loss, how many of their symbols are
wrong and how many tokens the filter keeps; and pictures of the likeliest.
"""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.metrics.censor import publishable
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE, PALETTE
from palimpsest.var.names import name_of
from palimpsest.var.scales_measured import sides_of
from palimpsest.var.tables.feeding import FED

MEASUREMENTS = ("feeding",)
INPUTS = ("<results>/var/{first_model}/feeding/panel.npz",)
PARAMS = {"models": None, "studies": ["comparison"], "pictures": 4}

ROWS = {"own_rollout": "drawn, concept", "safe_rollout": "drawn, safe"}
MARKERS = "osD^"


# By metric: what its axis says, and in which unit.
METRICS = {
    "token_loss": ("loss (nats a symbol)", 1),
    "token_wrong": ("wrong symbols (%)", 100),
    "token_kept": ("kept tokens (%)", 100),
}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """Above: each metric by scale, a column for each concept; below: pictures, a row for each input."""
    model, concepts = params["models"][0], params["studies"]["comparison"]["concepts"]
    sizes, rows = sides_of(lookup.of(model=model), "token_loss"), [*ROWS, *FED]
    heights = [1.25 * len(METRICS) + 0.7, 0.4 * len(rows)]
    figure = plt.figure(figsize=(PAGE, sum(heights)))
    above, below = figure.subfigures(2, 1, height_ratios=heights)
    panels = above.subplots(len(METRICS), len(concepts), sharex=True, sharey="row", squeeze=False)
    for line, (metric, (said, unit)) in zip(panels, METRICS.items(), strict=True):
        for axes, concept in zip(line, concepts, strict=True):
            for number, fed in enumerate(FED):
                here = lookup.of(model=model, concept=concept, fed=fed)
                found = unit * np.array([list(here.get(metric, scale=str(side))) for side in sizes])
                middle, low, high = found.T
                axes.errorbar(
                    range(len(sizes)),
                    middle,
                    yerr=[middle - low, high - middle],
                    marker=MARKERS[number],
                    color=PALETTE[number],
                    markersize=3,
                    linewidth=0.8,
                    label=name_of(fed),
                )
        line[0].set_ylabel(said, fontsize=7)
    for axes, concept in zip(panels[0], concepts, strict=True):
        axes.set_title(name_of(concept), fontsize=8)
    for axes in panels[-1]:
        axes.set_xticks(range(len(sizes)), [str(side) for side in sizes])
        axes.set_xlabel("side (tokens)", fontsize=7)
    above.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, handlelength=1.5)
    axes = below.subplots(len(rows), len(concepts), squeeze=False)
    with np.load(inputs[0]) as file:
        for line, name in zip(axes, rows, strict=True):
            for axis, concept in zip(line, concepts, strict=True):
                axis.set_xticks([])
                axis.set_yticks([])
                axis.spines[:].set_visible(False)
                found = publishable(file[f"{concept}.{name}"][: params["pictures"]], explicit=False)
                axis.imshow(np.concatenate([*found], axis=1))
            line[0].set_ylabel(ROWS.get(name) or name_of(name), rotation=0, ha="right", va="center", fontsize=6)
    return figure
