"""The target's mirror image."""

import numpy as np

from palimpsest.instance.surrogates.context import Context


def make(context: Context) -> np.ndarray:
    return context.targets[:, :, ::-1]
