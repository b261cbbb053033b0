"""What the edits look like: a picture per row, a rule per column."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.lcr.names import name_of
from palimpsest.metrics.censor import publishable
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE
from palimpsest.run import UserError

INPUTS = (
    "<results>/data/{set}/images.npy",
    "<results>/lcr/{main_preset}/{first_model}/reconstruction/{set}.npy",
    "<results>/lcr/{main_preset}/{first_model}/grid/{set}/{rule}/panel.npz",
)
PARAMS = {
    "rules": [
        "fixed",
        "random_safe",
        "shuffle_in_mask",
        "nn_embed",
        "masked_requant",
        "donor_patch",
        "context_icm",
        "learned_map",
        "twin",
        "black",
    ],
    "sets": ["forget_test"],
    "variant": "mask-all",
    "pictures": [0, 1, 2, 3, 4, 5],
    "explicit_sets": None,
}

GIVEN = ("original", "reconstruction")


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """params: `rules`, `variant` (of which the first seed is shown), `pictures` (their indices), `explicit_sets`.

    inputs: the set's images, the reconstruction, then the panel of every rule, in the order of params["rules"].
    """
    picks = list(params["pictures"])
    columns = {name: np.load(path, mmap_mode="r") for name, path in zip(GIVEN, inputs, strict=False)}
    for rule, path in zip(params["rules"], inputs[len(GIVEN) :], strict=True):
        with np.load(path) as panel:
            columns[rule] = panel[next(key for key in panel.files if key.startswith(f"{params['variant']}-"))]
    kept = min(map(len, columns.values()))
    if max(picks) >= kept:
        raise UserError(
            f"the figure panels is to show the pictures {picks}, and there are {kept}, counted from 0: give others in"
            " report.lcr.figures.panels.pictures"
        )
    figure, axes = plt.subplots(
        len(picks), len(columns), figsize=(PAGE, PAGE / len(columns) * len(picks) + 0.75), squeeze=False
    )
    for column, (name, pictures) in enumerate(columns.items()):
        shown = publishable(pictures[picks], bool(params["explicit_sets"]))
        for line, picture in enumerate(shown):
            axes[line, column].imshow(picture)
            axes[line, column].set_axis_off()
        axes[0, column].set_title(name_of(name).replace(", ", ",\n").replace(" ", "\n", 1), fontsize=6)
    figure.suptitle(name_of(inputs[1].parents[1].name), fontsize=8)  # its model's folder holds the reconstruction
    return figure
