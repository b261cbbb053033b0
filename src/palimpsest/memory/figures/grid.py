"""Pictures of each concept that models are asked for, from a random seed and from the seed that the audit found."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.memory.names import name_of
from palimpsest.metrics.censor import publishable
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE

INPUTS = (
    "<results>/memory/{first_model}/audit/networks/panel.npz",
    "<results>/memory/{first_model}/audit/{method}/panel.npz",
)
PARAMS = {"methods": None, "concepts": None, "oracles": None}

NETWORKS = ("pretrained", "oracle", "random")
PARTS = ("query", "found seed", "random seed")


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """Rows: networks and methods; columns: concepts, with the query, what its seed gives back, and a random seed's."""
    known = [name for name in NETWORKS if name != "oracle" or any(params["oracles"].values())]
    rows, concepts = [*known, *params["methods"]], params["concepts"]
    figure, axes = plt.subplots(len(rows), len(concepts), figsize=(PAGE, 0.62 * len(rows) + 0.4), squeeze=False)
    for line, method, path in zip(axes, rows, [inputs[0]] * len(known) + list(inputs[1:]), strict=True):
        with np.load(path) as file:
            for axis, concept in zip(line, concepts, strict=True):
                axis.set_xticks([])
                axis.set_yticks([])
                axis.spines[:].set_visible(False)
                if found := [name for name in file.files if name.startswith(f"{method}.{concept}.")]:
                    axis.imshow(strip(file[found[0]]))
        line[0].set_ylabel(name_of(method), rotation=0, ha="right", va="center", fontsize=7)
    for axis, concept in zip(axes[0], concepts, strict=True):
        axis.set_title(f"{name_of(concept)}\n{' | '.join(PARTS)}", fontsize=6)
    return figure


def strip(pictures: np.ndarray) -> np.ndarray:
    """Pictures (n, H, W, 3) side by side, a white gap between them."""
    shown = publishable(pictures, explicit=False)
    gap = np.full((shown.shape[1], 6, 3), 255, np.uint8)
    return np.concatenate([part for each in shown for part in (each, gap)][:-1], axis=1)
