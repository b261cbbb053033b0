"""What the family's figures share."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palimpsest.instance.names import name_of
from palimpsest.instance.published import LIMIT
from palimpsest.metrics.censor import publishable
from palimpsest.report.style import PALETTE
from palimpsest.report.typeset import number


def limit(axes: Axes) -> None:
    """The paper's limit of similarity as a vertical line."""
    axes.axvline(LIMIT, color=PALETTE[3], linestyle="--", linewidth=0.8, zorder=0)


def pictures(axes: Axes, images: np.ndarray, explicit: bool, columns: int | None = None) -> None:
    """Pictures (n, h, w, 3) uint8 side by side in rows of `columns`, one pixel of white between."""
    images = publishable(np.asarray(images), explicit)
    columns = columns or len(images)
    rows = -(-len(images) // columns)
    height, width = images.shape[1] + 1, images.shape[2] + 1
    sheet = np.full((rows * height - 1, columns * width - 1, 3), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * height, index % columns * width
        sheet[top : top + height - 1, left : left + width - 1] = image
    axes.imshow(sheet)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def named(axes: Axes, name: str, similarity: float) -> None:
    """A row's name, and S below it, left of its first picture."""
    axes.set_ylabel(f"{name_of(name)}\nS = {number(similarity)}", rotation=0, ha="right", va="center", fontsize=7)


def grid(figure: Figure, rows: list[str], columns: list[str], ratios: list[float]) -> np.ndarray:
    """Axes (rows, columns) with a name left of each row and above each column."""
    axes = figure.subplots(len(rows), len(columns), squeeze=False, width_ratios=ratios)
    for line, name in zip(axes, rows, strict=True):
        line[0].set_ylabel(name_of(name), rotation=0, ha="right", va="center", fontsize=7)
    for column, name in zip(axes[0], columns, strict=True):
        column.set_title(name, fontsize=7)
    return axes
