"""How alike two sets of pictures are: error, SSIM and a perceptual distance, as maps, so that a region can be left out.

Pictures are uint8 or in [0, 1]: a metric of pixels is not invariant to their offset, so the networks' [-1, 1] is
refused where it shows. A map is (n, H, W).
"""

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor
from torch.nn import functional as F

WINDOW = 7  # pixels per side of SSIM's window: scikit-image's default


def error_map(first: Tensor, second: Tensor) -> Tensor:
    """Squared error of images (n, c, H, W) in [0, 1], averaged over the channels."""
    for images in (first, second):
        low, high = images.aminmax()
        if not (low >= 0 and high <= 1):
            raise ValueError(f"images have values from {low:.3g} to {high:.3g}: give images in [0, 1], as by to_unit")
    return (first - second).square().mean(1)


def psnr(mean_error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error in [0, 1] units; infinite for equal pictures."""
    return float("inf") if mean_error == 0 else float(-10 * torch.log10(torch.tensor(mean_error)))


def ssim_map(first: np.ndarray, second: np.ndarray) -> Tensor:
    """Structural similarity (Wang et al. 2004) of uint8 pictures (n, H, W, c) wherever the window fits in.

    A uniform window and sample covariances, as scikit-image has them: the map (n, H - 6, W - 6) is the inner part of
    that of `skimage.metrics.structural_similarity`, and its mean is that function's value.
    """
    for pictures in (first, second):
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or min(pictures.shape[1:3]) < WINDOW:
            raise ValueError(
                f"pictures are {pictures.dtype} {pictures.shape}: SSIM needs uint8 (n, H, W, c) of at least {WINDOW} "
                "pixels per side"
            )
    stable_mean, stable_variance = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    sample = WINDOW**2 / (WINDOW**2 - 1)
    inner = slice(WINDOW // 2, -(WINDOW // 2))

    def mean(values: np.ndarray) -> np.ndarray:
        return uniform_filter(values, WINDOW, axes=(1, 2))[:, inner, inner]

    first, second = first.astype(np.float64), second.astype(np.float64)
    mean_first, mean_second = mean(first), mean(second)
    variance_first = sample * (mean(first * first) - mean_first**2)
    variance_second = sample * (mean(second * second) - mean_second**2)
    covariance = sample * (mean(first * second) - mean_first * mean_second)
    top = (2 * mean_first * mean_second + stable_mean) * (2 * covariance + stable_variance)
    bottom = (mean_first**2 + mean_second**2 + stable_mean) * (variance_first + variance_second + stable_variance)
    return torch.from_numpy((top / bottom).mean(3)).float()


def ssim(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The map's mean for each pair (n,) of uint8 pictures (n, H, W, c)."""
    pairs = zip(first, second, strict=True)  # one by one: a map holds several floats for each byte
    return np.array([float(ssim_map(one[None], other[None]).mean()) for one, other in pairs])


def normalised(features: list[Tensor]) -> list[Tensor]:
    """Feature maps (n, c, h, w), each place of unit length over its channels."""
    return [F.normalize(layer, dim=1) for layer in features]


def perceptual_map(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """`lpips_mini`: squared distance of channel-normalised features, summed over a judge's stages, as a map.

    The form of LPIPS (Zhang et al. 2018, eq. 1) with equal weights over the features of our own factor classifier; it
    is not LPIPS and its values are not comparable with LPIPS. Both are `normalised` features of
    `FactorClassifier.features`, computed once for every use; the map has the resolution of the first stage.
    """
    size = first[0].shape[-2:]
    layers = [(a - b).square_().sum(1, keepdim=True) for a, b in zip(first, second, strict=True)]
    return sum(F.interpolate(layer, size, mode="nearest") for layer in layers)[:, 0]


def masked_mean(values: Tensor, keep: Tensor) -> Tensor:
    """Mean of a map over the kept pixels of each image (n,); NaN where none is kept.

    keep: bool (n, H, W); of a map that leaves out a border, as SSIM's does, so does the mean.
    """
    (top, height), (left, width) = (
        ((whole - part) // 2, part) for whole, part in zip(keep.shape[1:], values.shape[1:], strict=True)
    )
    keep = keep[:, top : top + height, left : left + width]
    return (values * keep).sum((1, 2)) / keep.sum((1, 2))
