"""How alike two sets of pictures are: error, SSIM and a perceptual distance, as maps, so that a region can be left out.

Images are float tensors (n, 3, H, W) in [-1, 1]; a map is (n, H, W).
"""

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor
from torch.nn import functional as F


def error_map(first: Tensor, second: Tensor) -> Tensor:
    """Squared error in [0, 1] units, averaged over the channels."""
    return ((first - second) / 2).square().mean(1)


def psnr(mean_error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error in [0, 1] units; infinite for equal pictures."""
    return float("inf") if mean_error == 0 else float(-10 * torch.log10(torch.tensor(mean_error)))


def ssim_map(first: Tensor, second: Tensor, window: int = 7) -> Tensor:
    """Structural similarity (Wang et al. 2004) with a uniform window and sample covariances, as scikit-image has it.

    Edges are padded by reflection; the mean over the map's inner part, half a window from the edge, is
    `skimage.metrics.structural_similarity(..., data_range=2)`.
    """
    stable_mean, stable_variance = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    sample = window**2 / (window**2 - 1)

    def mean(values: np.ndarray) -> np.ndarray:
        return uniform_filter(values, window, mode="mirror", axes=(2, 3))

    first, second = first.double().numpy(), second.double().numpy()
    mean_first, mean_second = mean(first), mean(second)
    variance_first = sample * (mean(first * first) - mean_first**2)
    variance_second = sample * (mean(second * second) - mean_second**2)
    covariance = sample * (mean(first * second) - mean_first * mean_second)
    top = (2 * mean_first * mean_second + stable_mean) * (2 * covariance + stable_variance)
    bottom = (mean_first**2 + mean_second**2 + stable_mean) * (variance_first + variance_second + stable_variance)
    return torch.from_numpy((top / bottom).mean(1)).float()


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """The map's mean for each pair (n,)."""
    return ssim_map(first, second).mean((1, 2))


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
    """Mean of a map over the kept pixels of each image (n,); NaN where none is kept."""
    return (values * keep).sum((1, 2)) / keep.sum((1, 2))
