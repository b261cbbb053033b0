"""Every cell becomes a safe code drawn by its frequency in safe pictures."""

import numpy as np

from palimpsest.lcr.context import Context

RANDOM = True


def replace(codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator):
    frequency = context.counts[context.safe]
    return np.where(cells, rng.choice(context.safe, codes.shape, p=frequency / frequency.sum()), codes)
