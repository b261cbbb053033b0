"""Every cell becomes the safe code that keeps the most similar company: neighbours in the safe pictures (Hellinger)."""

from functools import partial

import numpy as np

from palimpsest.lcr.context import Context, to_nearest


def replace(codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator):
    return to_nearest(codes, cells, context, partial(company, context))


def company(context: Context, codes: np.ndarray) -> np.ndarray:
    """Square roots of the shares that each other code has in the neighbours of these, by side; (m, 4 live codes)."""
    live = context.live
    sides = np.empty((len(codes), 4, len(live)), np.float32)
    for side, direction in ((0, (0, 1)), (2, (1, 0))):
        table = context.pairs(direction)
        sides[:, side], sides[:, side + 1] = table[np.ix_(codes, live)], table[np.ix_(live, codes)].T
    shares = sides.reshape(len(codes), -1)
    shares /= np.maximum(shares.sum(1, keepdims=True), 1)
    return np.sqrt(shares, out=shares)
