"""Train a text-to-image latent diffusion model of the scenes, its text encoder with it, and judge what it draws.

The autoencoder is trained before (`train_autoencoder`) and stays as it is. Every picture is shown with a caption that
is drawn anew each time, now and then with none, as classifier-free guidance asks (Ho and Salimans 2022).
"""

import copy
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from palimpsest.judges import networks
from palimpsest.judges.emblem import best_scores
from palimpsest.judges.quality import factor_accuracy
from palimpsest.models import text_diffusion
from palimpsest.models.autoencoder import encode, load
from palimpsest.models.forward_process import add_noise
from palimpsest.models.latent_networks import (
    AutoencoderKL,
    CLIPTextConfig,
    CLIPTextModel,
    UNet2DConditionModel,
)
from palimpsest.models.pixels import to_tensor
from palimpsest.models.text_diffusion import Conditioned, TextDiffusion
from palimpsest.models.training import Kept, Training, built, fit
from palimpsest.models.unet import DDIMScheduler
from palimpsest.models.words import END, START, tokenizer_of
from palimpsest.options import Count, Positive, Share, Size, check
from palimpsest.run import Input, Output, sha256, step, torch_device
from palimpsest.worlds.captions import WORDS, drawn_caption
from palimpsest.worlds.scenes import FACTORS

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
    weights = 1 + params["mask_weight"] * shrunk(np.load(train_masks, mmap_mode="r"), means.shape[2:])
    model = untrained(params, vae, place)
    averaged = copy.deepcopy(model.network).requires_grad_(False)
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
    settings = {key: params[key] for key in ("batch", "steps", "learning_rate", "average")}
    losses = fit(
        model.network,
        loss_of,
        count=len(rows),
        seed=seed,
        clip=1.0,
        averaged=averaged,
        kept=Kept.beside(network, recipe),
        **settings,
    )
    kept = model.with_network(averaged.eval())
    text_diffusion.save(network, kept)
    prompts = {"seen": rows, "held_out": known_rows(pd.read_parquet(test_manifest), rows)}
    return {
        "losses": losses,
        "quality": {
            name: drawn_quality(kept, some.head(params["samples"]), judge, detector, seed)
            for name, some in prompts.items()
        },
        "sampling": SAMPLING,
        "parameters": {name: sum(part.numel() for part in each.parameters()) for name, each in parts_of(kept).items()},
    }


def parts_of(model: TextDiffusion) -> dict[str, torch.nn.Module]:
    """The networks of a model by name."""
    return {"unet": model.network.unet, "text_encoder": model.network.text_encoder, "vae": model.vae}


def untrained(params: dict, vae: AutoencoderKL, place: torch.device) -> TextDiffusion:
    """A model with random weights around an autoencoder."""
    tokenizer = tokenizer_of([*WORDS, ","], params["length"])
    vocabulary = tokenizer.get_vocab()
    special = {"bos_token_id": vocabulary[START], "eos_token_id": vocabulary[END], "pad_token_id": vocabulary[END]}
    sizes = {"vocab_size": len(vocabulary), "max_position_embeddings": params["length"]}
    text = built(CLIPTextModel, {"config": CLIPTextConfig(**params["text"], **sizes, **special)})
    unet = built(UNet2DConditionModel, params["architecture"])
    scheduler = DDIMScheduler(**params["schedule"])
    return TextDiffusion(Conditioned(unet, text).to(place), vae, tokenizer, scheduler, Path())


def shrunk(masks: np.ndarray, size: tuple[int, int]) -> Tensor:
    """The share of each cell of the latents that masks (n, H, W) cover, (n, 1, h, w)."""
    parts = [
        F.adaptive_avg_pool2d(torch.from_numpy(masks[start : start + 1024].copy())[:, None].float(), size)
        for start in range(0, len(masks), 1024)
    ]
    return torch.cat(parts)


def known_rows(rows: pd.DataFrame, seen: pd.DataFrame) -> pd.DataFrame:
    """The rows of which the training has shown every value: a model without a concept is not asked for it."""
    known = np.logical_and.reduce([rows[name].isin(seen[name].unique()) for name in (*FACTORS, "emblem")])
    return rows[known]


def drawn_quality(
    model: TextDiffusion, rows: pd.DataFrame, judge: Path, detector: Path, seed: int
) -> dict[str, float | int]:
    """How often what is drawn from the rows' captions shows what they say, by factor.

    emblem_found: where the caption has one; emblem_unasked: where it has none.
    """
    pictures = to_tensor(text_diffusion.draw(model, list(rows["caption"]), np.arange(len(rows)), seed=seed, **SAMPLING))
    accuracy = factor_accuracy(networks.load(judge), pictures, rows)
    found, asked = best_scores(networks.load(detector), pictures).numpy() >= 0.5, rows["emblem"].to_numpy(bool)
    rates = {name: accuracy[name] for name in FACTORS}
    if asked.any():
        rates["emblem_found"] = float(found[asked].mean())
    return {**rates, "emblem_unasked": float(found[~asked].mean()), "prompts": len(rows)}


if __name__ == "__main__":
    step(train)
