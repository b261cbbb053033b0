"""Every cell becomes the nearest other safe code in the codebook's Euclidean geometry: the original's map."""

import numpy as np

from palimpsest.lcr.context import Context, nearest_safe


def replace(codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator):
    return np.where(cells, nearest_safe(context.squared_distances, context.safe)[codes], codes)
