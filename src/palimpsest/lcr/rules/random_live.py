"""Every cell becomes a code drawn uniformly from all live codes, explicit ones included: chance without a choice."""

import numpy as np

from palimpsest.lcr.context import Context

RANDOM = True


def replace(codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator):
    return np.where(cells, rng.choice(context.live, codes.shape), codes)
