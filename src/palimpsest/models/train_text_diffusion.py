"""Train a text-to-image latent diffusion model of the scenes, its text encoder with it, and judge what it draws.

The autoencoder is trained before (`train_autoencoder`) and stays as it is. Every picture is shown with a caption that
is drawn anew each time, now and then with none, as classifier-free guidance asks (Ho and Salimans 2022).
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.judges.prompted import judged_prompts, shown
from palimpsest.models import text_diffusion
from palimpsest.models.autoencoder import encode, load
from palimpsest.models.forward_process import add_noise
from palimpsest.models.latent_networks import AutoencoderKL, UNet2DConditionModel
from palimpsest.models.pixels import shares
from palimpsest.models.text_diffusion import Conditioned, TextDiffusion
from palimpsest.models.text_encoder import untrained_text
from palimpsest.models.training import Kept, Training, built, fit_average
from palimpsest.models.unet import DDIMScheduler
from palimpsest.options import Count, Positive, Share, Size, check
from palimpsest.run import Input, Output, sha256, step, torch_device
from palimpsest.worlds.captions import drawn_caption

EMPTY_SHARE = 0.1  # of the captions
SAMPLING = {"steps": 25, "guidance": 3.0}  # of the samples that are judged


class Settings(Training):
    """Options of the training. architecture, text, schedule: as diffusers and transformers name them.

    length: tokens of a prompt; average: decay of the kept weights' average; mask_weight: how much more a cell of the
    concept counts; samples: how many are judged, of seen and of held-out prompts each.
    """

    architecture: dict
    text: dict
    schedule: dict
    length: Positive
    average: Share
    mask_weight: Size
    samples: Positive


def train(
    train_images: Input,
    train_masks: Input,
    train_manifest: Input,
    test_manifest: Input,
    autoencoder: Input,
    judge: Input,
    detector: Input,
    network: Output,
    *,
    params: dict,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """Train the model that params describe, and write it in the layout of Stable Diffusion 1.x."""
    check(Settings, params, "params of the text-to-image model")
    place = torch_device(device)
    rows = pd.read_parquet(train_manifest)
    vae = load(autoencoder).to(place)
    means, spreads = encode(vae, np.load(train_images, mmap_mode="r"))
    weights = 1 + params["mask_weight"] * shares(np.load(train_masks, mmap_mode="r"), means.shape[2:])
    model = untrained(params, vae, place)
    records, alphas = rows.to_dict("records"), model.alphas_cumprod

    def loss_of(picks: np.ndarray, index: int) -> Tensor:
        rng = np.random.default_rng((seed, index))
        captions = ["" if rng.random() < EMPTY_SHARE else drawn_caption(records[pick], rng) for pick in picks]
        first, second = rng.standard_normal((2, len(picks), *means.shape[1:]), np.float32)
        latents = (means[picks] + spreads[picks] * torch.from_numpy(first)).to(place)
        noise = torch.from_numpy(second).to(place)
        # One timestep of each equal part of the range: uniform, with less variance.
        times = (np.arange(len(picks)) + rng.random(len(picks))) * (len(alphas) / len(picks))
        times = torch.from_numpy(times.astype(np.int64)).to(place)
        predicted = model.network(add_noise(latents, noise, alphas, times), times, model.ids(captions))
        return (weights[picks].to(place) * (predicted - noise).square()).mean()

    known = hashlib.sha256(means.numpy().tobytes() + spreads.numpy().tobytes()).hexdigest()
    recipe = {"params": params, "seed": seed, "data": sha256(train_manifest), "latents": known}
    averaged, losses = fit_average(
        model.network, loss_of, params, count=len(rows), seed=seed, kept=Kept.beside(network, recipe)
    )
    kept = model.with_network(averaged.eval())
    text_diffusion.save(network, kept)
    prompts = judged_prompts(rows, pd.read_parquet(test_manifest), params["samples"])
    return {
        "losses": losses,
        "quality": {name: shown(drawn(kept, some, seed), some, judge, detector) for name, some in prompts.items()},
        "sampling": SAMPLING,
        "parameters": {name: sum(part.numel() for part in each.parameters()) for name, each in parts_of(kept).items()},
    }


def drawn(model: TextDiffusion, rows: pd.DataFrame, seed: int) -> np.ndarray:
    """What a model draws from the rows' captions."""
    return text_diffusion.draw(model, list(rows["caption"]), np.arange(len(rows)), seed=seed, **SAMPLING)


def parts_of(model: TextDiffusion) -> dict[str, torch.nn.Module]:
    """The networks of a model by name."""
    return {"unet": model.network.unet, "text_encoder": model.network.text_encoder, "vae": model.vae}


def untrained(params: dict, vae: AutoencoderKL, place: torch.device) -> TextDiffusion:
    """A model with random weights around an autoencoder."""
    text, tokenizer = untrained_text(params["text"], params["length"])
    unet = built(UNet2DConditionModel, params["architecture"])
    scheduler = DDIMScheduler(**params["schedule"])
    return TextDiffusion(Conditioned(unet, text).to(place), vae, tokenizer, scheduler, Path())


if __name__ == "__main__":
    step(train)
