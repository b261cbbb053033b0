"""What the edits look like: a picture per row, a rule per column."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.lcr.names import name_of
from palimpsest.metrics.censor import publishable
from palimpsest.report.style import PAGE


def draw(inputs: list[Path], params: dict) -> Figure:
    """params: `rules`, `variant` (a key of the panels), `pictures` (their indices), `explicit_sets`.

    inputs: the set's images, the reconstruction, then the panel of every rule, in the order of params["rules"].
    """
    picks = list(params["pictures"])
    columns = {"original": np.load(inputs[0], mmap_mode="r")[picks], "reconstruction": np.load(inputs[1])[picks]}
    for rule, path in zip(params["rules"], inputs[2:], strict=True):
        with np.load(path) as panel:
            columns[rule] = panel[params["variant"]][picks]
    figure, axes = plt.subplots(
        len(picks), len(columns), figsize=(PAGE, PAGE / len(columns) * len(picks) + 0.55), squeeze=False
    )
    for column, (name, pictures) in enumerate(columns.items()):
        shown = publishable(np.asarray(pictures), bool(params["explicit_sets"]))
        for line, picture in enumerate(shown):
            axes[line, column].imshow(picture)
            axes[line, column].set_axis_off()
        axes[0, column].set_title(name_of(name).replace(", ", ",\n").replace(" ", "\n", 1), fontsize=6)
    return figure
