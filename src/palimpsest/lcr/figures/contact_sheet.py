"""The procedural world: pictures of every set."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.metrics.censor import publishable
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE

INPUTS = ("<results>/data/{set}/images.npy",)
PARAMS = {"sets": ["forget_test", "twin_of_forget_test", "safe_test"], "pictures": 12, "explicit_sets": None}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """params: `explicit_sets`, `pictures` per set. inputs: images, in folders named like their sets."""
    count = params["pictures"]
    figure, axes = plt.subplots(len(inputs), 1, figsize=(PAGE, PAGE / count * len(inputs) * 1.25), squeeze=False)
    for line, path in zip(axes[:, 0], inputs, strict=True):
        name = path.parent.name
        shown = publishable(np.asarray(np.load(path, mmap_mode="r")[:count]), name in params["explicit_sets"])
        line.imshow(np.concatenate([np.pad(part, ((0, 0), (0, 2), (0, 0)), constant_values=255) for part in shown], 1))
        line.set_title(name.replace("_", " "), loc="left", fontsize=7)
        line.set_axis_off()
    return figure
