"""The codes inside an image's cells change places: the histogram stays, the arrangement goes.

If this forgets, the concept is carried by the combination of codes; if it does not, by the codes themselves.
"""

import numpy as np

from palimpsest.lcr.context import Context

RANDOM = True


def replace(codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator):
    result = codes.copy()
    for index in np.flatnonzero(cells.any((1, 2))):
        result[index][cells[index]] = rng.permutation(codes[index][cells[index]])
    return result
