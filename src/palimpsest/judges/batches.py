"""Applying a judge to many pictures: at rest they are uint8 (memory-mapped, if need be), floats for a batch only."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from palimpsest.models.pixels import to_tensor

PIXELS, LARGEST = 2**21, 256  # of a batch: pixels, and pictures


@torch.inference_mode()
def in_batches(function: Callable[..., Tensor], *pictures: np.ndarray) -> np.ndarray:
    """float32 values (n, ...) of a function of images (n, 3, H, W) in [-1, 1], for pictures (n, H, W, 3) uint8.

    Several arrays of pictures are several arguments, row by row; there is one picture at least.
    """
    count, height, width = pictures[0].shape[:3]
    size = max(1, min(LARGEST, PIXELS // (height * width)))
    found = None
    for start in range(0, count, size):
        part = function(*(to_tensor(each[start : start + size]) for each in pictures)).float().cpu().numpy()
        # At once: small results kept between large batches would break up the memory, and 10,000 pictures take 8 GB.
        found = np.empty((count, *part.shape[1:]), np.float32) if found is None else found
        found[start : start + size] = part
    return found
