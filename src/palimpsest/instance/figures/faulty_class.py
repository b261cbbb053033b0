"""Same-seed samples of the repaired class and of the others, by method (the paper's figure 8)."""

import re
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.instance.figures._common import grid, pictures
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE

INPUTS = (
    "<results>/instance/faulty_class/comparison/reference/samples.npz",
    "<results>/instance/faulty_class/comparison/{repair}/panel.npz",
)
PARAMS = {"repairs": None, "own": 12, "others": 10, "explicit_sets": None}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """inputs: the reference samples, then the panel of every repair. params: `repairs`, `own`, `others`.

    Of a repair the first seed of the tuned setting is shown.
    """
    rows, own, others = ["pretrained", *params["repairs"]], params["own"], params["others"]
    figure = plt.figure(figsize=(PAGE, 0.42 * len(rows) + 0.5))
    axes = grid(figure, rows, ["the faulty class", "other classes"], [own, others])
    for line, path in zip(axes, inputs, strict=True):
        with np.load(path) as file:
            own_key = next(key for key in file.files if key == "own" or re.fullmatch(r"tuned\.\d+\.own", key))
            others_key = own_key.removesuffix("own") + "others"
            mine = file[own_key][file["shown"]] if own_key == "own" else file[own_key]
            pictures(line[0], mine[:own], bool(params["explicit_sets"]))
            pictures(line[1], file[others_key][:others], bool(params["explicit_sets"]))
    return figure
