"""Every cell becomes a code drawn uniformly from the safe codes: the original's "localised random"."""

import numpy as np

from palimpsest.lcr.context import Context

RANDOM = True


def replace(codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator):
    return np.where(cells, rng.choice(context.safe, codes.shape), codes)
