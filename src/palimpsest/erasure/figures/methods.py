"""What each method draws: the concept by name, by another word, a neighbour, anything else, from the same noise."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.erasure.names import name_of
from palimpsest.metrics.censor import publishable
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE

INPUTS = (
    "<results>/erasure/{first_model}/networks/panel.npz",
    "<results>/erasure/{first_model}/comparison/{method}/panel.npz",
)
PARAMS = {
    "methods": None,
    "oracles": None,
    "studies": ["comparison"],
    "shown": ["own", "synonym", "neighbour", "rest"],
    "pictures": 2,
}

TITLES = {"own": "by name", "synonym": "synonym", "neighbour": "neighbour", "rest": "other"}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """Rows: the pretrained model, its oracle, the methods; columns: concepts, and in each the kinds of prompts."""
    study, count = params["studies"]["comparison"], params["pictures"]
    seed, concepts, roles = study["seeds"][0], study["concepts"], params["shown"]
    known = ["pretrained", *(["oracle"] if any(params["oracles"].values()) else [])]
    rows = [*known, *params["methods"]]
    figure, axes = plt.subplots(len(rows), len(concepts), figsize=(PAGE, 0.36 * len(rows) + 0.5), squeeze=False)
    for line, method, path in zip(axes, rows, [inputs[0]] * len(known) + inputs[1:], strict=True):
        with np.load(path) as file:
            for axis, concept in zip(line, concepts, strict=True):
                axis.set_xticks([])
                axis.set_yticks([])
                axis.spines[:].set_visible(False)
                start, end = f"{method}.{concept}.", f".{seed}"
                if found := [name for name in file.files if name.startswith(start) and name.endswith(end)]:
                    axis.imshow(strip(file[found[0]], file["roles"], roles, count))
        line[0].set_ylabel(name_of(method), rotation=0, ha="right", va="center", fontsize=7)
    for axis, concept in zip(axes[0], concepts, strict=True):
        axis.set_title(f"{name_of(concept)}\n{' | '.join(TITLES[role] for role in roles)}", fontsize=6)
    return figure


def strip(panel: np.ndarray, shown: np.ndarray, roles: list[str], count: int) -> np.ndarray:
    """The first pictures of each role side by side, a white gap between roles; shown: the role of each of the panel."""
    size, parts = panel.shape[1], []
    for role in roles:
        pictures = panel[np.flatnonzero(shown == role)[:count]]
        parts += [*publishable(pictures, explicit=False), np.full((size, 6, 3), 255, np.uint8)]
    return np.concatenate(parts[:-1], axis=1)
