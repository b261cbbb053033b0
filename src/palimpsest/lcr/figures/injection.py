"""The concept's codes in safe images: before, after, and where pixels and re-encoded latents changed."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from palimpsest.lcr.names import name_of
from palimpsest.metrics.censor import publishable
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import COLUMN

INPUTS = ("<results>/lcr/{main_preset}/{model}/injection/panel.npz",)
PARAMS = {"models": None, "pictures": 3, "explicit_sets": None}

PICTURES = {"donor": "donor", "reconstruction": "safe", "injected": "injected"}
# What is mapped, and the unit of its scale: a model's largest value, because code vectors differ in length by model.
MAPS = {"pixel_change": ("pixel\nchange", "grey levels"), "latent_change": ("latent\nchange", "L2 of vectors")}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """params: `models`, `pictures` (how many per model), `explicit_sets`. inputs: the panel of every model."""
    models, count = params["models"], params["pictures"]
    columns = len(PICTURES) + len(MAPS)
    height = COLUMN / columns * len(models) * count + 1.0
    figure, axes = plt.subplots(len(models) * count, columns, figsize=(COLUMN, height), squeeze=False)
    for start, (model, path) in enumerate(zip(models, inputs, strict=True)):
        panel = read(path, count, bool(params["explicit_sets"]))
        block = axes[start * count : (start + 1) * count]
        for index, line in enumerate(block):
            for place, name in zip(line, PICTURES, strict=False):
                place.imshow(panel[name][index])
            for place, name in zip(line[len(PICTURES) :], MAPS, strict=True):
                drawn = place.imshow(panel[name][index], cmap="magma", vmin=0, vmax=max(panel[name].max(), 1e-9))
                outline(place, panel["mask"][index], panel[name][index].shape)
                if index == count - 1:
                    scale(place, drawn, MAPS[name][1])
            for each in line:
                each.set(xticks=[], yticks=[])
            line[0].set_ylabel(f"{name_of(model)} {index + 1}", fontsize=6.5)
    for each, title in zip(axes[0], [*PICTURES.values(), *(title for title, _ in MAPS.values())], strict=True):
        each.set_title(title, fontsize=7)
    return figure


def scale(axes: Axes, drawn: AxesImage, unit: str) -> None:
    """The colour scale of a map, below it."""
    bar = axes.figure.colorbar(drawn, cax=axes.inset_axes([0, -0.16, 1, 0.08]), orientation="horizontal")
    bar.set_label(unit, fontsize=6, labelpad=1)
    bar.ax.tick_params(labelsize=6, length=2, pad=1)


def read(path: Path, count: int, explicit: bool) -> dict[str, np.ndarray]:
    """The first `count` pairs of a panel, its pictures as they may be shown."""
    with np.load(path) as panel:
        shown = {name: publishable(panel[name][:count], explicit) for name in PICTURES}
        return shown | {name: panel[name][:count] for name in (*MAPS, "mask")}


def outline(axes: Axes, mask: np.ndarray, shape: tuple[int, int]) -> None:
    """Draw the border of a mask of cells over a map of shape (rows, columns)."""
    scale = shape[0] // mask.shape[0]
    large = np.kron(np.pad(mask, 1), np.ones((scale, scale)))
    places = np.arange(-scale, shape[0] + scale)
    axes.contour(places, np.arange(-scale, shape[1] + scale), large, levels=[0.5], colors="white", linewidths=0.6)
    axes.set(xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))
