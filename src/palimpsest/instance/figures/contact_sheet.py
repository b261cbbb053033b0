"""What the diffusion models draw, beside what they were trained on."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.instance.figures._common import pictures
from palimpsest.instance.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE

INPUTS = ("<results>/data/{set}/images.npy", "<results>/instance/{model}/reference/reference.npz")
PARAMS = {
    "models": None,
    "sets": ["data"],
    "pictures": 36,
    "columns": 6,
    "injection_steps": None,
    "explicit_sets": None,
}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """inputs: training images, then the reference of every model. params: `pictures`, `columns`, `explicit_sets`."""
    count, columns = params["pictures"], params["columns"]
    data = np.load(inputs[0], mmap_mode="r")
    sheets = {"training pictures": data[np.linspace(0, len(data) - 1, count).astype(int)]}
    for model, path in zip(params["models"], inputs[1:], strict=True):
        with np.load(path) as file:
            sheets |= {f"{name_of(model)}, {params['injection_steps']} steps": file["sheet"][:count]}
    figure, axes = plt.subplots(1, len(sheets), figsize=(PAGE, PAGE / len(sheets) * (count / columns) / columns + 0.3))
    for place, (name, sheet) in zip(axes, sheets.items(), strict=True):
        pictures(place, sheet, bool(params["explicit_sets"]), columns)
        place.set_title(name)
    return figure
