"""The target with Gaussian noise; sigma in units of 0 to 255 (the paper's 50 and 150), cut off at the range's ends."""

import numpy as np

from palimpsest.instance.surrogates.context import Context
from palimpsest.worlds.damage import noisy


def make(context: Context, *, sigma: float = 50.0) -> np.ndarray:
    return noisy(context.targets, sigma, np.random.default_rng(context.seed))
