"""Train the autoencoder of a latent diffusion model (Rombach et al. 2022), and measure it on held-out pictures.

Loss: L2 + 0.1 L1 of the pixels, the concept's weighing more, a perceptual distance in the features of the guide
classifier (a network that judges nothing later), and the divergence of the latents from a standard normal.
"""

from typing import Literal, NotRequired

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.judges import networks
from palimpsest.judges.quality import given_back
from palimpsest.models import autoencoder
from palimpsest.models.latent_networks import AutoencoderKL
from palimpsest.models.perceptual import perceptual
from palimpsest.models.training import Kept, Training, built, fit_average, weighed_pictures
from palimpsest.models.weights import filled
from palimpsest.options import Count, Share, Size, check
from palimpsest.run import Input, Output, UserError, sha256, step, torch_device


class Settings(Training):
    """Options of the training. architecture: as diffusers names it; average: decay of the kept weights' average.

    mask_weight: how much more a pixel of the concept counts. concept_share: how much of each batch is drawn from
    the pictures that have the concept, where they are too few to be learned by the way. trained: a later stage may
    leave the encoder, and so the latents, as they are, and train the decoder alone.
    """

    architecture: dict
    average: Share
    perceptual_weight: Size
    mask_weight: Size
    divergence_weight: Size
    concept_share: NotRequired[Share]
    trained: NotRequired[Literal["both", "decoder"]]


def train(
    train_images: Input,
    train_masks: Input,
    test_images: Input,
    test_manifest: Input,
    guide: Input,
    judge: Input,
    detector: Input,
    network: Output,
    *,
    start: Input | None = None,
    params: dict,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """Train the autoencoder that params describe, from the weights of `start` where that is given.

    Its latents are scaled to unit variance on the training pictures.
    """
    check(Settings, params, "params of the autoencoder")
    place = torch_device(device)
    images, masks = np.load(train_images, mmap_mode="r"), np.load(train_masks, mmap_mode="r")
    model = built(AutoencoderKL, params["architecture"]).to(place)
    if start is not None:
        filled(model, start)
    if params.get("trained") == "decoder":
        for part in (model.encoder, model.quant_conv):
            part.requires_grad_(False)
    critic = networks.load(guide).to(place)
    carriers = np.flatnonzero(masks.any((1, 2))) if "concept_share" in params else None
    if carriers is not None and not len(carriers):
        raise UserError(
            f"params of the autoencoder: concept_share asks for pictures with the concept, and {train_masks} has none. "
            "Take it out, or train on pictures that have it"
        )

    def loss_of(picks: np.ndarray, index: int) -> Tensor:
        rng = np.random.default_rng((seed, index))
        if carriers is not None:
            picks = with_more(picks, carriers, params["concept_share"], rng)
        drawn = weighed_pictures(images, masks, picks, params["mask_weight"], rng)
        pictures, weight = (each.to(place) for each in drawn)
        latents = model.encode(pictures).latent_dist
        noise = torch.from_numpy(rng.standard_normal(tuple(latents.mean.shape), np.float32)).to(place)
        made = model.decode(latents.mean + latents.std * noise).sample
        error = made - pictures
        pixels = (weight * (error.square() + 0.1 * error.abs())).mean()
        divergence = 0.5 * (latents.mean.square() + latents.var - 1 - latents.logvar).mean()
        return (
            pixels
            + params["perceptual_weight"] * perceptual(critic, made, pictures)
            + params["divergence_weight"] * divergence
        )

    recipe = {"params": params, "seed": seed, "data": sha256(train_images), "guide": sha256(guide)}
    recipe |= {} if start is None else {"start": sha256(start)}
    averaged, losses = fit_average(
        model, loss_of, params, count=len(images), seed=seed, kept=Kept.beside(network, recipe)
    )
    spread = float(autoencoder.encode(averaged, images[:512], scaled=False)[0].std())
    averaged.register_to_config(scaling_factor=round(1 / spread, 5))
    autoencoder.save(network, averaged)
    pictures = np.load(test_images)
    back = autoencoder.decode(averaged, autoencoder.encode(averaged, pictures)[0])
    return {
        "losses": losses,
        "quality": given_back(pictures, back, pd.read_parquet(test_manifest), judge, detector),
        "parameters": sum(part.numel() for part in averaged.parameters()),
    }


def with_more(picks: np.ndarray, carriers: np.ndarray, part: float, rng: np.random.Generator) -> np.ndarray:
    """Some indices (n,) with a share of them replaced by random ones of others."""
    count = round(part * len(picks))
    kept = rng.choice(picks, len(picks) - count, replace=False)
    return np.sort(np.concatenate([kept, rng.choice(carriers, count)]))


if __name__ == "__main__":
    step(train)
