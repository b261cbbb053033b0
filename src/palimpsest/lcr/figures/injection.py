"""The concept's codes in safe images: before, after, and where pixels and re-encoded latents changed."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palimpsest.lcr.names import name_of
from palimpsest.metrics.censor import publishable
from palimpsest.report.style import COLUMN

TITLES = ("safe", "injected", "pixel change", "latent change")


def draw(inputs: list[Path], params: dict) -> Figure:
    """params: `models`, `pictures` (how many per model), `explicit_sets`. inputs: the panel of every model."""
    models, count = params["models"], params["pictures"]
    figure, axes = plt.subplots(
        len(models) * count, len(TITLES), figsize=(COLUMN, COLUMN / 4 * len(models) * count + 0.3), squeeze=False
    )
    for start, (model, path) in enumerate(zip(models, inputs, strict=True)):
        with np.load(path) as panel:
            explicit = bool(params["explicit_sets"])
            shown = [publishable(panel[name][:count], explicit) for name in ("reconstruction", "injected")]
            maps = [panel[name] for name in ("pixel_change", "latent_change")]
            masks = panel["mask"]
        for index in range(count):
            line = axes[start * count + index]
            for place, pictures in enumerate(shown):
                line[place].imshow(pictures[index])
            for place, values in enumerate(maps, start=2):
                line[place].imshow(values[index], cmap="magma", vmin=0, vmax=max(values.max(), 1e-9))
                outline(line[place], masks[index], values[index].shape)
            for each in line:
                each.set(xticks=[], yticks=[])
            if index == 0:
                line[0].set_ylabel(name_of(model), fontsize=7)
    for each, title in zip(axes[0], TITLES, strict=True):
        each.set_title(title, fontsize=7)
    return figure


def outline(axes: Axes, mask: np.ndarray, shape: tuple[int, int]) -> None:
    """Draw the border of a mask of cells over a map of shape (rows, columns)."""
    scale = shape[0] // mask.shape[0]
    large = np.kron(np.pad(mask, 1), np.ones((scale, scale)))
    places = np.arange(-scale, shape[0] + scale)
    axes.contour(places, np.arange(-scale, shape[1] + scale), large, levels=[0.5], colors="white", linewidths=0.6)
    axes.set(xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))
