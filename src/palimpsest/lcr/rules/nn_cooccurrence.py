"""Every cell becomes the safe code that keeps the most similar company: neighbours in the safe pictures (Hellinger)."""

from functools import partial

import numpy as np

from palimpsest.lcr.context import Context, nearest_safe


def replace(codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator):
    result = codes.copy()
    result[cells] = nearest_safe(codes[cells], context.safe, partial(company, context))
    return result


def company(context: Context, codes: np.ndarray) -> np.ndarray:
    """Square roots of the shares that each other code has in the neighbours of these, by side; (m, 4 live codes)."""
    live = context.live
    tables = (context.horizontal, context.horizontal.T, context.vertical, context.vertical.T)
    counts = np.concatenate([table[np.ix_(codes, live)] for table in tables], 1).astype(np.float32)
    return np.sqrt(counts / np.maximum(counts.sum(1, keepdims=True), 1))
