"""Train a small VQ-GAN of a world, and measure it on held-out images.

Loss: L1 + 0.5 L2 + a perceptual distance in the features of the guide classifier (a network that judges nothing
later) + the quantiser's terms. `nearest`: codebook by exponential moving averages with restarts of unused codes
(van den Oord et al. 2017, appendix A; Jukebox) and a commitment loss. `gumbel`: a straight-through draw from the
softmax at a falling temperature (Jang et al. 2017), and a term for diverse codes.
"""

import math
from typing import NotRequired

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from palimpsest.judges import networks
from palimpsest.models import weights
from palimpsest.models.perceptual import perceptual
from palimpsest.models.pixels import to_tensor
from palimpsest.models.training import Training, fit
from palimpsest.models.vqgan import VQGAN, VQGANConfig
from palimpsest.options import Count, Size, check, check_types
from palimpsest.run import Input, Output, step


class Settings(Training):
    """Options of the training. architecture: of VQGANConfig; mask_weight: how much more a pixel of the concept counts.

    For gumbel also the first and last temperature, the weight of diverse codes, and the gain of the first logits.
    """

    architecture: dict
    perceptual_weight: Size
    mask_weight: Size
    temperatures: NotRequired[tuple[float, float]]
    diversity_weight: NotRequired[Size]
    logit_gain: NotRequired[Size]


def train(
    train_images: Input,
    train_masks: Input,
    test_images: Input,
    guide: Input,
    network: Output,
    *,
    start: Input | None = None,
    params: dict,
    seed: Count = 0,
) -> dict:
    """Train the model that params describe, from the weights of `start` where that is given."""
    check(Settings, params, "params of the VQ-GAN")
    check_types(VQGANConfig, params["architecture"], "architecture of the VQ-GAN")
    images, masks = np.load(train_images, mmap_mode="r"), np.load(train_masks, mmap_mode="r")
    config = VQGANConfig(**params["architecture"])
    model = VQGAN(config)
    if start is not None:
        weights.load_into(start, model).requires_grad_(True)
    critic = networks.load(guide)
    quantise = NearestTraining(model, seed) if config.quantiser == "nearest" else GumbelTraining(model, params)
    rng = np.random.default_rng(seed)

    def loss_of(picks: np.ndarray, index: int) -> Tensor:
        pictures = to_tensor(images[picks])
        weight = 1 + params["mask_weight"] * torch.from_numpy(masks[picks])[:, None].float()
        shift = tuple(int(cells) for cells in rng.integers(-3, 4, 2))
        pictures, weight = (torch.roll(part, shift, (2, 3)) for part in (pictures, weight))
        if rng.random() < 0.5:
            pictures, weight = pictures.flip(3), weight.flip(3)
        quantised, penalty = quantise(pictures, index / params["steps"])
        made = model.decode_latents(quantised)
        error = (made - pictures).float()
        distance = perceptual(critic, made, pictures)
        pixels = (weight * (error.abs() + 0.5 * error.square())).mean()
        return pixels + params["perceptual_weight"] * distance + penalty

    losses = fit(
        model,
        loss_of,
        count=len(images),
        seed=seed,
        weight_decay=0.0,
        **{key: params[key] for key in ("batch", "steps", "learning_rate")},
    )
    weights.save(network, model, model.to_metadata())
    return {"losses": losses, "quality": quality(model, to_tensor(np.load(test_images)[:512]))}


class NearestTraining:
    """Nearest-neighbour quantisation with a moving-average codebook; unused codes restart at encoder outputs."""

    decay, commitment, least_use = 0.98, 0.25, 0.02

    def __init__(self, model: VQGAN, seed: int):
        self.model = model
        model.quantize.embedding.weight.requires_grad_(False)
        codes = model.config.codes
        self.use = torch.ones(codes)
        self.sums = model.codebook.detach().clone()
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, pictures: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        z = self.model.latents(pictures).float()
        with torch.autocast("cpu", enabled=False):
            codes = self.model.quantize.logits(z).argmax(1)
        quantised = self.model.codebook[codes].permute(0, 3, 1, 2)
        penalty = self.commitment * (z - quantised).square().mean()
        if self.model.training:
            self._update(z.detach().permute(0, 2, 3, 1).flatten(0, 2), codes.flatten())
        return z + (quantised - z).detach(), penalty

    def _update(self, z: Tensor, codes: Tensor) -> None:
        count = torch.bincount(codes, minlength=len(self.use)).float()
        self.use.lerp_(count, 1 - self.decay)
        self.sums.lerp_(torch.zeros_like(self.sums).index_add_(0, codes, z), 1 - self.decay)
        dead = self.use < self.least_use
        if dead.any():
            fresh = z[torch.randint(len(z), (int(dead.sum()),), generator=self.generator)]
            self.sums[dead], self.use[dead] = fresh, 1.0
        self.model.quantize.embedding.weight.data.copy_(self.sums / self.use.clamp(min=1e-5)[:, None])


class GumbelTraining:
    """A straight-through Gumbel-softmax draw; the temperature falls by a cosine.

    `diversity_weight` weighs log K minus the entropy of the batch's mean code distribution (Baevski et al. 2020): it
    keeps codes alive without asking a single cell to be undecided, which a divergence per cell would.
    """

    def __init__(self, model: VQGAN, params: dict):
        self.model, self.weight = model, params["diversity_weight"]
        self.first, self.last = params["temperatures"]
        with torch.no_grad():
            model.quantize.proj.weight.mul_(params["logit_gain"])

    def __call__(self, pictures: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        logits = self.model.encode_logits(pictures).float()
        temperature = self.last + (self.first - self.last) * 0.5 * (1 + math.cos(math.pi * progress))
        draw = F.gumbel_softmax(logits, temperature, hard=True, dim=1)
        share = logits.softmax(1).mean((0, 2, 3))
        diversity = math.log(len(share)) + torch.xlogy(share, share).sum()
        return torch.einsum("bkhw,kd->bdhw", draw, self.model.codebook), self.weight * diversity


@torch.inference_mode()
def quality(model: VQGAN, images: Tensor, batch: int = 64) -> dict[str, float]:
    """PSNR (dB, mean over images), share of codes in use and perplexity on held-out images."""
    psnr, count = [], torch.zeros(model.config.codes)
    for part in images.split(batch):
        codes = model.encode(part)
        error = (model.decode_codes(codes).clamp(-1, 1) - part).square().mean((1, 2, 3))
        psnr.append(10 * torch.log10(4 / error))
        count += torch.bincount(codes.flatten(), minlength=len(count))
    share = count / count.sum()
    return {
        "psnr": float(torch.cat(psnr).mean()),
        "live_codes": float((count > 0).float().mean()),
        "perplexity": float(torch.exp(-torch.xlogy(share, share).sum())),
    }


if __name__ == "__main__":
    step(train)
