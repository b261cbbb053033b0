"""What damages pictures, by how much: noise and blur of any picture."""

import numpy as np
from scipy import ndimage


def noisy(pictures: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Pictures (n, h, w, 3) uint8 with Gaussian noise; sigma in units of 0 to 255, cut off at the range's ends."""
    return np.clip(np.rint(pictures + sigma * rng.standard_normal(pictures.shape)), 0, 255).astype(np.uint8)


def blurred(pictures: np.ndarray, sigma: float) -> np.ndarray:
    """Pictures (n, h, w, 3) uint8 under a Gaussian of so many pixels, mirrored at their borders."""
    soft = ndimage.gaussian_filter(pictures.astype(np.float32), sigma, axes=(1, 2), mode="reflect")
    return np.clip(np.rint(soft), 0, 255).astype(np.uint8)
