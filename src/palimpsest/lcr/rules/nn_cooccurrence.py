"""Every cell becomes the safe code that keeps the most similar company: neighbours in the safe pictures (Hellinger)."""

import numpy as np

from palimpsest.lcr.context import Context, nearest_safe, squared_distances


def replace(codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator):
    company = np.concatenate(
        [context.horizontal, context.horizontal.T, context.vertical, context.vertical.T], 1
    ).astype(np.float32)
    share = np.sqrt(company / np.maximum(company.sum(1, keepdims=True), 1))
    return np.where(cells, nearest_safe(squared_distances(share), context.safe)[codes], codes)
