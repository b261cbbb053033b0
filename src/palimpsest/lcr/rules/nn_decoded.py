"""Every cell becomes the safe code that looks most alike: each code is decoded alone, as a uniform grid."""

from functools import partial

import numpy as np
import torch

from palimpsest.lcr.context import Context, nearest_safe

GRID = 8  # cells per side of the uniform grid; its middle cell is compared


def replace(codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator):
    result = codes.copy()
    result[cells] = nearest_safe(codes[cells], context.safe, partial(patches, context))
    return result


@torch.inference_mode()
def patches(context: Context, codes: np.ndarray) -> np.ndarray:
    """The middle cell's pixels of a uniform grid of each code, flattened (m, 3 f f)."""
    cell = context.model.config.downsampling
    middle = slice(GRID // 2 * cell, (GRID // 2 + 1) * cell)
    shown = [
        context.model.decode_codes(part[:, None, None].expand(-1, GRID, GRID))[..., middle, middle].flatten(1)
        for part in torch.from_numpy(codes).split(128)
    ]
    return torch.cat(shown).cpu().numpy()
