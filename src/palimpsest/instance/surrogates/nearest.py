"""The remembered picture nearest to the target in pixels: what ReTrack leads to, with one neighbour."""

import numpy as np

from palimpsest.instance.surrogates.context import Context


def make(context: Context, *, rank: int = 0) -> np.ndarray:
    return context.data[context.neighbours[:, rank]]
