"""Every cell becomes the safe code whose selecting direction is most alike (cosine: of unit vectors, the nearest).

The direction that makes the encoder choose a code: the projection's row in a Gumbel quantiser, the embedding itself in
a nearest-neighbour one.
"""

import numpy as np

from palimpsest.lcr.context import Context, to_nearest


def replace(codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator):
    if context.model.config.quantiser == "gumbel":
        rows = context.model.quantize.proj.weight.detach().flatten(1).cpu().numpy()
    else:
        rows = context.codebook
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return to_nearest(codes, cells, context, lambda some: rows[some])
