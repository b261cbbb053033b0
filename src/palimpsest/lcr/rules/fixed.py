"""Every cell becomes one code: a given index, or the most frequent safe code.

The original's fixed index is 0, whatever that code shows.
"""

from typing import Literal

import numpy as np

from palimpsest.lcr.context import Context
from palimpsest.options import Count
from palimpsest.run import UserError


def replace(
    codes: np.ndarray,
    cells: np.ndarray,
    context: Context,
    rng: np.random.Generator,
    index: Count | Literal["mode"] = "mode",
):
    """index: a code, or "mode"."""
    code = context.safe[context.counts[context.safe].argmax()] if index == "mode" else index
    if code >= len(context.counts):
        raise UserError(f"the rule fixed has the index {code}: the model has codes 0 to {len(context.counts) - 1}.")
    return np.where(cells, code, codes)
