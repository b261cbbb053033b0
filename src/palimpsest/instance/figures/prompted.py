"""Same-seed samples of a prompt and of others, before and after forgetting (the paper's figure 8)."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.instance.figures._common import grid, pictures
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE

INPUTS = ("<results>/instance/prompted/{case}/panel.npz",)
PARAMS = {"cases": None, "own": 8, "kept": 8, "explicit_sets": None}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """inputs: the panel of every case. params: `cases`; `own` and `kept`, how many pictures."""
    rows = [f"{case}, {when}" for case in params["cases"] for when in ("before", "after")]
    figure = plt.figure(figsize=(PAGE, 0.42 * len(rows) + 0.5))
    axes = grid(figure, rows, ["the prompt", "other prompts"], [params["own"], params["kept"]])
    for number, path in enumerate(inputs):
        with np.load(path) as file:
            for line, when in zip(axes[2 * number :], ("before", "after"), strict=False):
                for axis, kind in zip(line, ("own", "kept"), strict=True):
                    pictures(axis, file[f"{when}.{kind}"][: params[kind]], bool(params["explicit_sets"]))
    return figure
