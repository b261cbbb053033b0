"""Every cell becomes the code of the nearest cell outside the region (Euclidean on the grid)."""

import numpy as np
from scipy.ndimage import distance_transform_edt

from palimpsest.lcr.context import Context


def replace(codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator):
    result = codes.copy()
    for index in np.flatnonzero(cells.any((1, 2)) & ~cells.all((1, 2))):
        row, column = distance_transform_edt(cells[index], return_distances=False, return_indices=True)
        result[index] = codes[index][row, column]
    return result
