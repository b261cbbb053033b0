"""Every cell becomes one code: a given index, or the most frequent safe code.

The original's fixed index is 0, whatever that code shows.
"""

import numpy as np

from palimpsest.lcr.context import Context


def replace(codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator, index="mode"):
    """index: a code, or "mode"."""
    code = context.safe[context.counts[context.safe].argmax()] if index == "mode" else index
    return np.where(cells, code, codes)
