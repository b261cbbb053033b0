"""Train a diffusion model to predict noise (Ho et al. 2020), or the velocity that says it, and measure how it draws.

Of a model without classes the loss on held-out pictures is measured too, and where there is a judge how its samples
look beside data, by several samplers: a fault of the training may show in few steps, or in many, alone.
"""

from functools import partial
from typing import NotRequired

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from palimpsest.judges.faces_drawn import beside_data
from palimpsest.models import diffusion
from palimpsest.models.forward_process import add_noise, drawn_noise
from palimpsest.models.pixels import to_tensor
from palimpsest.models.training import Kept, Training, fit_average
from palimpsest.models.unet import DDPMScheduler, UNet2DModel
from palimpsest.options import Count, Positive, Share, check, check_types
from palimpsest.run import Input, Output, sha256, step, torch_device

DROPPED_LABELS = 0.1
BANDS = ((0, 10), (10, 50), (50, 100), (100, 250), (250, 500), (500, 1000))  # timesteps that the loss is reported for


class Settings(Training):
    """Options of the training. architecture, schedule: as diffusers names them.

    average: decay of the moving average of the weights, which is what is kept. labels: for a class-conditional network,
    the manifest's column with the class of each picture. samples: how many each sampler draws for the judge; ddim:
    steps of those that are deterministic, beside the ancestral one.
    """

    architecture: dict
    schedule: dict
    average: Share
    labels: NotRequired[str]
    samples: NotRequired[Positive]
    ddim: NotRequired[list[Positive]]


def train(
    train_images: Input,
    train_manifest: Input,
    test_images: Input,
    network: Output,
    *,
    params: dict,
    judge: Input | None = None,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """Train the network that params describe; a training that was killed goes on where it last kept its state.

    Of a class-conditional network the last class, of no picture, stands in for a tenth of the others, as
    classifier-free guidance asks (Ho and Salimans 2022).
    """
    check(Settings, params, "params of the diffusion model")
    check_types(UNet2DModel.__init__, params["architecture"], "architecture of the diffusion model")
    check_types(DDPMScheduler.__init__, params["schedule"], "schedule of the diffusion model")
    images, place = np.load(train_images, mmap_mode="r"), torch_device(device)
    scheduler = DDPMScheduler(**params["schedule"])
    model, labels = nn.Module.to(UNet2DModel(**params["architecture"]), place), None
    if "labels" in params:
        labels = torch.from_numpy(pd.read_parquet(train_manifest)[params["labels"]].to_numpy(np.int64))

    def loss_of(picks: np.ndarray, index: int) -> Tensor:
        rng = np.random.default_rng((seed, index))
        # One timestep of each equal part of the range: uniform, with less variance.
        times = (np.arange(len(picks)) + rng.random(len(picks))) * (len(scheduler) / len(picks))
        times = torch.from_numpy(rng.permutation(times.astype(np.int64)))
        noise = torch.from_numpy(rng.standard_normal((len(picks), *images.shape[-1:], *images.shape[1:3]), np.float32))
        noisy = add_noise(to_tensor(images[picks]), noise, scheduler.alphas_cumprod, times).to(place)
        given = None
        if labels is not None:
            dropped = torch.from_numpy(rng.random(len(picks)) < DROPPED_LABELS)
            given = torch.where(dropped, params["architecture"]["num_class_embeds"] - 1, labels[picks]).to(place)
        return losses_of(predictor, noisy, times.to(place), noise.to(place), given).mean()

    predictor = diffusion.NoisePredictor(model, scheduler)
    recipe = {"params": params, "seed": seed, "data": sha256(train_images)}
    kept, losses = fit_average(model, loss_of, params, count=len(images), seed=seed, kept=Kept.beside(network, recipe))
    quality = {}
    if judge is not None:
        ways = {f"ddim_{steps}": partial(diffusion.sample, steps=steps) for steps in params["ddim"]}
        ways["ancestral"] = diffusion.sample_ancestral
        ways = {name: partial(way, kept, scheduler, seed=seed) for name, way in ways.items()}
        quality |= beside_data(judge, images, np.load(test_images, mmap_mode="r"), ways, params["samples"])
    kept = nn.Module.to(kept, "cpu")
    if labels is None:
        quality |= held_out_loss(kept, scheduler, to_tensor(np.load(test_images)), seed)
    diffusion.save(network, kept, scheduler)
    return {"losses": losses, "quality": quality, "parameters": sum(part.numel() for part in kept.parameters())}


def losses_of(
    predictor: diffusion.NoisePredictor, noisy: Tensor, times: Tensor, noise: Tensor, labels: Tensor | None = None
) -> Tensor:
    """Squared error (n,) of the noise that a network predicts, or says by the velocity, for pictures (n, c, h, w)."""
    return (predictor(noisy, times, labels).float() - noise).square().mean((1, 2, 3))


@torch.inference_mode()
def held_out_loss(network: UNet2DModel, scheduler: DDPMScheduler, images: Tensor, seed: int) -> dict[str, float]:
    """Mean squared error of the predicted noise on held-out pictures, by band of timesteps."""
    found, rng, predictor = {}, np.random.default_rng(seed), diffusion.NoisePredictor(network, scheduler)
    noise = drawn_noise(seed, np.arange(len(images)), tuple(images.shape[1:]))
    for low, high in BANDS:
        times = torch.from_numpy(rng.integers(low, high, len(images)))
        noisy = add_noise(images, noise, scheduler.alphas_cumprod, times)
        parts = zip(noisy.split(256), times.split(256), noise.split(256), strict=True)
        errors = [(predictor(x, t) - wanted).square().mean((1, 2, 3)) for x, t, wanted in parts]
        found[f"loss_{low}_{high}"] = round(float(torch.cat(errors).mean()), 5)
    return found


if __name__ == "__main__":
    step(train)
