"""Every cell becomes the nearest other safe code in the codebook's Euclidean geometry: the original's map."""

import numpy as np

from palimpsest.lcr.context import Context, nearest_safe


def replace(codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator):
    result = codes.copy()
    result[cells] = nearest_safe(codes[cells], context.safe, lambda some: context.codebook[some])
    return result
