"""The forward process of a diffusion model that predicts noise (Ho et al. 2020), and the noise a surrogate implies.

alphas_cumprod: (T,), the share of the signal's variance left at each timestep. Images and noise are (n, c, h, w),
timesteps (n,) int64 in [0, T).
"""

import numpy as np
import torch
from torch import Tensor


def scales(alphas_cumprod: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of the image and of the noise at each timestep, each (n, 1, 1, 1)."""
    share = alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    return share.sqrt(), (1 - share).sqrt()


def add_noise(images: Tensor, noise: Tensor, alphas_cumprod: Tensor, timesteps: Tensor) -> Tensor:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps (Lee et al. 2026, eq. 1)."""
    signal, spread = scales(alphas_cumprod, timesteps)
    return signal * images + spread * noise


def implied_noise(noisy: Tensor, images: Tensor, alphas_cumprod: Tensor, timesteps: Tensor) -> Tensor:
    """The noise that leads from the images to the noisy ones (eq. 9); of a surrogate's image, its noise (eq. 10)."""
    signal, spread = scales(alphas_cumprod, timesteps)
    return (noisy - signal * images) / spread


def surrogate_noise(
    noise: Tensor, target: Tensor, surrogate: Tensor, alphas_cumprod: Tensor, timesteps: Tensor
) -> Tensor:
    """The noise that would have led from the surrogate to the noised target (eq. 10).

    Written as eps + sqrt(SNR_t) (x - surrogate), which divides by no small number: the noised target is the input of
    the network, only what it should predict there changes.
    """
    signal, spread = scales(alphas_cumprod, timesteps)
    return noise + (signal / spread) * (target - surrogate)


def signal_to_noise(alphas_cumprod: Tensor) -> Tensor:
    """SNR_t = abar_t / (1 - abar_t), shape (T,)."""
    return alphas_cumprod / (1 - alphas_cumprod)


def drawn_noise(seed: int, indices: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise (n, *shape), each picture's own function of (seed, index): no batch size changes it."""
    pictures = [np.random.default_rng((seed, int(index))).standard_normal(shape, np.float32) for index in indices]
    return torch.from_numpy(np.stack(pictures))
