"""Pixel baseline: the region is painted black in the reconstruction."""

import numpy as np


def paint(pictures: np.ndarray, region: np.ndarray) -> np.ndarray:
    """pictures: uint8 (n, H, W, 3); region: bool (n, H, W)."""
    return np.where(region[..., None], np.uint8(0), pictures)
