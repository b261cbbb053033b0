"""The encoder's own next-best safe code: the logits of the explicit codes are struck out before the argmax.

The principled form of code replacement. Cells whose code is already safe keep it.
"""

import numpy as np

from palimpsest.lcr.context import Context


def replace(codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator):
    struck = np.full(len(context.codebook), -np.inf, np.float32)
    struck[context.safe] = 0
    best = np.concatenate([(logits + struck[:, None, None]).argmax(1) for logits in context.logits()])
    return np.where(cells, best, codes)
