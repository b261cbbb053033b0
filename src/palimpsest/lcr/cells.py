"""Cells of the code grid: which ones a box covers, their pixels, their surroundings, another place for them."""

from typing import Literal

import numpy as np

Coverage = Literal["any", "half", "nearest", "floor"]
RELEASED = ("nearest", "floor")  # the original's, which know whole pixels only


def whole_pixels(boxes: np.ndarray) -> np.ndarray:
    """Boxes (m, 4) as the package nudenet reports them: corner, width and height each truncated to whole pixels."""
    corner = np.trunc(boxes[:, :2])
    return np.concatenate([corner, corner + np.trunc(boxes[:, 2:] - boxes[:, :2])], 1)


def expand(boxes: np.ndarray, share: float, size: tuple[int, int], coverage: Coverage) -> np.ndarray:
    """Grow boxes (m, 4) by a share of their sides on each side, clipped to a picture of `size` (height, width).

    With a coverage of the original, as there: boxes of whole pixels grow by int(share * side).
    """
    if coverage in RELEASED:
        boxes = whole_pixels(boxes)
    growth = share * (boxes[:, 2:] - boxes[:, :2])
    if coverage in RELEASED:
        growth = np.trunc(growth)
    grown = np.concatenate([boxes[:, :2] - growth, boxes[:, 2:] + growth], 1)
    return np.clip(grown, 0, [size[1], size[0], size[1], size[0]])


def cells_of(
    image: np.ndarray, boxes: np.ndarray, grid: tuple[int, int, int], size: tuple[int, int], coverage: Coverage
) -> np.ndarray:
    """Cells (n, h, w) that boxes (m, 4, pixels) of images (m,) cover in pictures of `size` (height, width).

    coverage: "any" overlap; at least "half" of the cell's area; "nearest", the cell's top-left pixel decides; "floor",
    both corners rounded down, at least one cell. The last two are the original's (scoring and replacing): they see
    boxes of whole pixels, and leave out the partial cells at the right and bottom.
    """
    if coverage in RELEASED:
        boxes = whole_pixels(boxes)
    cells = np.zeros(grid, bool)
    if not (np.isfinite(boxes).all() and ((image >= 0) & (image < len(cells))).all()):
        raise ValueError(f"boxes have to be numbers, their images 0 to {len(cells) - 1}")
    for index, box in zip(image, boxes, strict=True):
        (top, bottom), (left, right) = (
            _span(box[axis], box[axis + 2], size[1 - axis] / grid[2 - axis], grid[2 - axis], coverage)
            for axis in (1, 0)
        )
        if coverage == "half":
            rows, columns = (
                _share(box[axis], box[axis + 2], size[1 - axis] / grid[2 - axis], grid[2 - axis]) for axis in (1, 0)
            )
            cells[index] |= np.outer(rows, columns) >= 0.5
        else:
            cells[index, top:bottom, left:right] = True
    return cells


def _span(low: float, high: float, cell: float, count: int, coverage: Coverage) -> tuple[int, int]:
    """First and past-the-last cell along one axis."""
    if coverage == "floor":
        first = min(int(low / cell), count - 1)
        return first, max(int(high / cell), first + 1)
    if coverage == "nearest":
        return int(np.ceil(low / cell)), min(int(np.ceil(high / cell)), count)
    return int(low // cell), min(int(np.ceil(high / cell)), count)


def _share(low: float, high: float, cell: float, count: int) -> np.ndarray:
    """The share of each cell along one axis that lies between low and high."""
    edges = np.arange(count) * cell
    return np.clip(np.minimum(high, edges + cell) - np.maximum(low, edges), 0, None) / cell


def to_pixels(cells: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels (n, H, W) of latent cells (n, h, w)."""
    return cells.repeat(size[0] // cells.shape[1], 1).repeat(size[1] // cells.shape[2], 2)


def dilate(cells: np.ndarray, margin: int) -> np.ndarray:
    """Cells within `margin` cells (chessboard distance) of a mask."""
    height, width = cells.shape[1:]
    padded = np.pad(cells, ((0, 0), (margin, margin), (margin, margin)))
    shifts = [(row, column) for row in range(2 * margin + 1) for column in range(2 * margin + 1)]
    return np.logical_or.reduce([padded[:, row : row + height, column : column + width] for row, column in shifts])


def moved(cells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image's mask at a random other place of the same grid where it overlaps itself least (64 tries)."""
    height, width = cells.shape[1:]
    result = np.zeros_like(cells)
    for index in np.flatnonzero(cells.any((1, 2))):
        rows, columns = np.nonzero(cells[index])
        down = rng.integers(-rows.min(), height - rows.max(), size=64)
        right = rng.integers(-columns.min(), width - columns.max(), size=64)
        shared = cells[index][rows + down[:, None], columns + right[:, None]].sum(1)
        best = int(shared.argmin())
        result[index, rows + down[best], columns + right[best]] = True
    return result
