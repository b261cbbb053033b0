"""Grids of latent codes: counting, packing of neighbourhoods, masks.

Shapes: codes are unsigned (n, h, w), one code in [0, codebook_size) per cell; masks are boolean (n, h, w).
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import sparse

CHUNK = 1 << 18  # cells looked at together: bounds the memory of every count, whatever the number of images
PAIRS_AT_ONCE = 1 << 22  # bounds the memory beside a table of pairs
INT64_MAX = np.iinfo(np.int64).max


def chunks(flat: np.ndarray) -> Iterator[np.ndarray]:
    """Consecutive parts of an array (m,)."""
    for start in range(0, len(flat), CHUNK):
        yield flat[start : start + CHUNK]


def count_codes(codes: np.ndarray, codebook_size: int, masks: np.ndarray | None = None) -> np.ndarray:
    """How often each code occurs (codebook_size,) int64, in the cells of the masks if masks are given."""
    counts = np.zeros(codebook_size, np.int64)
    flat = codes.reshape(-1)
    if masks is None:
        for part in chunks(flat):
            counts += np.bincount(part, minlength=codebook_size)
        return counts
    for part, chosen in zip(chunks(flat), chunks(masks.reshape(-1)), strict=True):
        counts += np.bincount(part[chosen], minlength=codebook_size)
    return counts


def _histogram_chunks(codes, codebook_size, masks) -> Iterator[np.ndarray]:
    """Dense histograms (images of the chunk, codebook_size) of consecutive images."""
    images = max(1, min(2 * CHUNK // codebook_size, 2 * CHUNK // max(1, codes[0].size if len(codes) else 1)))
    for start in range(0, len(codes), images):
        part = codes[start : start + images]
        keys = part.reshape(len(part), -1).astype(np.int64) + np.arange(len(part))[:, None] * codebook_size
        keys = keys.ravel() if masks is None else keys[masks[start : start + images].reshape(len(part), -1)]
        yield np.bincount(keys, minlength=len(part) * codebook_size).reshape(len(part), codebook_size)


def document_frequency(codes: np.ndarray, codebook_size: int, masks: np.ndarray | None = None) -> np.ndarray:
    """In how many images each code occurs (codebook_size,) int64, in the cells of the masks if masks are given."""
    frequency = np.zeros(codebook_size, np.int64)
    for histogram in _histogram_chunks(codes, codebook_size, masks):
        frequency += np.count_nonzero(histogram, axis=0)
    return frequency


def image_histograms(codes: np.ndarray, codebook_size: int, masks: np.ndarray | None = None) -> sparse.csr_array:
    """The sparse histogram (n, codebook_size) of each image, int32, of the cells of the masks if masks are given."""
    data, indices, lengths = [], [], []
    for histogram in _histogram_chunks(codes, codebook_size, masks):
        places = np.flatnonzero(histogram)
        rows, columns = np.divmod(places, codebook_size)
        data.append(histogram.ravel()[places].astype(np.int32))
        indices.append(columns.astype(np.int32))
        lengths.append(np.bincount(rows, minlength=len(histogram)))
    if not data:
        return sparse.csr_array((0, codebook_size), dtype=np.int32)
    pointers = np.r_[0, np.cumsum(np.concatenate(lengths))]
    shape = (len(codes), codebook_size)
    return sparse.csr_array((np.concatenate(data), np.concatenate(indices), pointers), shape=shape)


def resampling_weights(images: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """How often each draw of an image-level bootstrap takes each image: (draws, images), every row sums to images."""
    return np.stack([np.bincount(rng.integers(images, size=images), minlength=images) for _ in range(draws)])


def resampled_counts(histograms: sparse.csr_array, weights: np.ndarray) -> np.ndarray:
    """The code counts (draws, codebook_size) of every bootstrap draw, from histograms (n, K) and weights (draws, n)."""
    return weights.astype(float) @ histograms


def patches(codes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Name every height x width window: int64 (n, h - height + 1, w - width + 1), numbered from 0 without gaps.

    Two windows of one call have the same number exactly when they hold the same codes. Cells are packed as digits of
    an int64; whenever one more would not fit, the numbers so far are relabelled 0, 1, ... and packing goes on.
    """
    rows, columns = codes.shape[1] - height + 1, codes.shape[2] - width + 1
    digits, base = _relabel(codes.astype(np.int64), int(codes.max(initial=0)) + 1)
    size = 1  # every key is below it
    keys = np.zeros((len(codes), rows, columns), np.int64)
    for row in range(height):
        for column in range(width):
            if size * base > INT64_MAX:
                keys, size = _relabel(keys, size)
            keys *= base
            keys += digits[:, row : row + rows, column : column + columns]
            size *= base
    return _relabel(keys, size)[0]


def _relabel(keys: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """Keys in [0, size) numbered from 0 without gaps, and how many there are: by a table of all keys if it is small."""
    if size <= max(4 * keys.size, CHUNK):
        seen = np.zeros(size, bool)
        seen[keys] = True
        return (np.cumsum(seen) - 1)[keys], int(seen.sum())
    labels, names = pd.factorize(keys.ravel())
    return labels.reshape(keys.shape), len(names)


def cover(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """The highest value of the windows that contain each cell: (n, h - height + 1, w - width + 1) to (n, h, w).

    Values are boolean or whole numbers of at least 0.
    """
    count, rows, columns = values.shape
    cells = np.zeros((count, rows + height - 1, columns + width - 1), values.dtype)
    for row in range(height):
        for column in range(width):
            part = cells[:, row : row + rows, column : column + columns]
            np.maximum(part, values, out=part)
    return cells


def mostly_inside(masks: np.ndarray, height: int, width: int) -> np.ndarray:
    """Which height x width windows have more than half of their cells in the mask: bool, shaped as `patches`."""
    rows, columns = masks.shape[1] - height + 1, masks.shape[2] - width + 1
    inside = np.zeros((len(masks), rows, columns), np.uint8)
    for row in range(height):
        for column in range(width):
            inside += masks[:, row : row + rows, column : column + columns]
    return 2 * inside.astype(np.int16) > height * width


def move_cells(
    image: np.ndarray, row: np.ndarray, column: np.ndarray, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of masks moved, unchanged in form, to a uniformly random place of a grid of this shape.

    The cells (m,) are in the order of np.nonzero: sorted by image.
    """
    if not len(image):
        return row, column
    starts = np.flatnonzero(np.r_[True, np.diff(image) != 0])
    which = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(image)]))
    moved = []
    for place, limit in ((row, shape[0]), (column, shape[1])):
        first, last = np.minimum.reduceat(place, starts), np.maximum.reduceat(place, starts)
        moved.append(place + rng.integers(-first, limit - last)[which])
    return moved[0], moved[1]


def move_masks(masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Masks (n, h, w), each moved unchanged in form to a random place of its own image."""
    image, row, column = np.nonzero(masks)
    moved = np.zeros(masks.shape, bool)
    moved[(image, *move_cells(image, row, column, masks.shape[1:], rng))] = True
    return moved


def neighbours(grid: np.ndarray, direction: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Views of the first and the second cell of every adjacent pair; direction is (rows down, columns right)."""
    down, right = direction
    first = grid[:, : grid.shape[1] - down, max(0, -right) : grid.shape[2] - max(0, right)]
    second = grid[:, down:, max(0, right) : grid.shape[2] - max(0, -right)]
    return first, second


def pair_counts(codes: np.ndarray, codebook_size: int, direction: tuple[int, int]) -> np.ndarray:
    """How often each ordered pair of codes is adjacent in this direction: int32 (codebook_size, codebook_size)."""
    table = np.zeros(codebook_size**2, np.int32)
    images = max(1, PAIRS_AT_ONCE // codes[0].size)
    for start in range(0, len(codes), images):
        first, second = neighbours(codes[start : start + images], direction)
        keys, counts = np.unique(first.astype(np.int64) * codebook_size + second, return_counts=True)
        table[keys] += counts.astype(np.int32)
    return table.reshape(codebook_size, codebook_size)


def neighbours_inside(masks: np.ndarray, direction: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Adjacent pairs with both cells in a mask, as indices (m,), (m,) into the cells that np.nonzero(masks) lists."""
    first, second = neighbours(np.asarray(masks), direction)
    both = first & second
    numbers = (np.cumsum(masks.reshape(-1), dtype=np.int64) - 1).reshape(masks.shape)
    first, second = neighbours(numbers, direction)
    return first[both], second[both]
