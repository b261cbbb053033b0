"""Every cell becomes the safe code that looks most alike: each code is decoded alone, as a uniform grid."""

from functools import partial

import numpy as np
import torch

from palimpsest.lcr.context import Context, to_nearest
from palimpsest.models.vqgan import VQGAN

GRID = 8  # cells per side of the uniform grid; its middle cell is compared
BATCH = 128


def replace(codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator):
    return to_nearest(codes, cells, context, partial(patches, context.model))


@torch.inference_mode()
def patches(model: VQGAN, codes: np.ndarray) -> np.ndarray:
    """The middle cell's pixels of a uniform grid of each code, flattened (m, 3 f f)."""
    cell = model.config.downsampling
    middle = slice(GRID // 2 * cell, (GRID // 2 + 1) * cell)
    shown = [
        model.decode_codes(part[:, None, None].expand(-1, GRID, GRID))[..., middle, middle].flatten(1).cpu()
        for part in torch.from_numpy(codes).split(BATCH)
    ]
    return torch.cat(shown).numpy()
