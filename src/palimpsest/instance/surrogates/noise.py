"""The target with Gaussian noise; sigma in units of 0 to 255 (the paper's 50 and 150), cut off at the range's ends."""

import numpy as np

from palimpsest.instance.surrogates.context import Context


def make(context: Context, *, sigma: float = 50.0) -> np.ndarray:
    rng = np.random.default_rng(context.seed)
    return np.clip(np.rint(context.targets + sigma * rng.standard_normal(context.targets.shape)), 0, 255).astype(
        np.uint8
    )
