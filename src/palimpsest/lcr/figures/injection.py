"""The concept's codes in safe images: before, after, and where pixels and re-encoded latents changed."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palimpsest.lcr.names import name_of
from palimpsest.metrics.censor import publishable
from palimpsest.report.style import COLUMN

PICTURES = {"donor": "donor", "reconstruction": "safe", "injected": "injected"}
# What is mapped, and its unit. One scale holds for every picture of both models.
MAPS = {
    "pixel_change": ("pixel change", "grey levels of 255"),
    "latent_change": ("latent change", "L2 of code vectors"),
}


def draw(inputs: list[Path], params: dict) -> Figure:
    """params: `models`, `pictures` (how many per model), `explicit_sets`. inputs: the panel of every model."""
    models, count = params["models"], params["pictures"]
    columns = len(PICTURES) + len(MAPS)
    height = COLUMN / columns * len(models) * count + 0.75
    figure, axes = plt.subplots(len(models) * count, columns, figsize=(COLUMN, height), squeeze=False)
    panels = {
        model: read(path, count, bool(params["explicit_sets"])) for model, path in zip(models, inputs, strict=True)
    }
    for start, (model, panel) in enumerate(panels.items()):
        for index in range(count):
            line = axes[start * count + index]
            for place, name in zip(line, PICTURES, strict=False):
                place.imshow(panel[name][index])
            for place, name in zip(line[len(PICTURES) :], MAPS, strict=True):
                highest = max(max(each[name].max() for each in panels.values()), 1e-9)
                drawn = place.imshow(panel[name][index], cmap="magma", vmin=0, vmax=highest)
                outline(place, panel["mask"][index], panel[name][index].shape)
                if start == index == 0:
                    column = list(axes[:, list(line).index(place)])
                    bar = figure.colorbar(drawn, ax=column, location="bottom", aspect=8, pad=0.02)
                    bar.set_label(MAPS[name][1], fontsize=6)
                    bar.ax.tick_params(labelsize=6)
            for each in line:
                each.set(xticks=[], yticks=[])
            line[0].set_ylabel(f"{name_of(model)} {index + 1}", fontsize=6.5)
    for each, title in zip(axes[0], [*PICTURES.values(), *(title for title, _ in MAPS.values())], strict=True):
        each.set_title(title, fontsize=7)
    return figure


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
