"""The autoencoder of a latent diffusion model: diffusers' AutoencoderKL, pictures to scaled latents and back."""

from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from palimpsest.models.diffusion import device_of
from palimpsest.models.latent_networks import AutoencoderKL
from palimpsest.models.pixels import to_tensor, to_uint8
from palimpsest.models.weights import filled, tensors_of

MOST_PIXELS = 2**21  # of a batch of pictures: at 512 pixels a side eight at once, which take some 10 GB


def at_once(side: int, most: int = 64, gradient: bool = False) -> int:
    """How many square pictures of so many pixels a side go into a batch; a fourth with a gradient, which keeps all."""
    return max(1, min(most, MOST_PIXELS // side**2 // (4 if gradient else 1)))


def save(path: Path, network: AutoencoderKL) -> None:
    """Write the weights to a path, and the architecture beside it."""
    network.save_config(path.parent)
    safetensors.torch.save_file(tensors_of(network), path, metadata={"format": "pt"})


def load(path: Path) -> AutoencoderKL:
    """The autoencoder behind a file of weights, in evaluation mode and frozen."""
    with torch.device("meta"):
        network = AutoencoderKL.from_config(AutoencoderKL.load_config(path.parent))
    return filled(network, path).eval().requires_grad_(False)


@torch.inference_mode()
def encode(network: AutoencoderKL, pictures: np.ndarray, batch: int = 64, scaled: bool = True) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of the latents of pictures (n, H, W, 3) uint8, each (n, c, h, w) on the CPU.

    scaled: as the diffusion model has them, the posterior's times the configuration's factor.
    """
    factor, device, means, spreads = network.config.scaling_factor if scaled else 1.0, device_of(network), [], []
    batch = at_once(pictures.shape[1], batch)
    for start in range(0, len(pictures), batch):
        found = network.encode(to_tensor(pictures[start : start + batch]).to(device)).latent_dist
        means.append((found.mean * factor).cpu())
        spreads.append((found.std * factor).cpu())
    return torch.cat(means), torch.cat(spreads)


@torch.inference_mode()
def decode(network: AutoencoderKL, latents: Tensor, batch: int = 64) -> np.ndarray:
    """Pictures (n, H, W, 3) uint8 of scaled latents (n, c, h, w)."""
    factor, device = network.config.scaling_factor, device_of(network)
    parts = latents.split(at_once(scale_of(network) * latents.shape[2], batch))
    return np.concatenate([to_uint8(network.decode(part.to(device) / factor).sample) for part in parts])


def scale_of(network: AutoencoderKL) -> int:
    """How many pixels a side of a picture has to one of its latents."""
    return 2 ** (len(network.config.block_out_channels) - 1)
