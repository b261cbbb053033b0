"""Text-to-image latent diffusion in the layout of Stable Diffusion 1.x: diffusers' and transformers' own classes.

A model is known by the file of its UNet's weights, <folder>/unet/diffusion_pytorch_model.safetensors; beside it stand
vae/, text_encoder/, tokenizer/, scheduler/ and the index, so that `StableDiffusionPipeline.from_pretrained(folder)`
loads it. Prompts are token ids (n, length), int64; embeddings are what the text encoder makes of them (n, length,
width). Latents (n, c, h, w) are scaled as the UNet has them; pictures are (n, H, W, 3) uint8.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from palimpsest.models import autoencoder
from palimpsest.models.diffusion import WEIGHTS, device_of, scheduler_of
from palimpsest.models.forward_process import drawn_noise
from palimpsest.models.latent_networks import (
    AutoencoderKL,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    UNet2DConditionModel,
)
from palimpsest.models.unet import VERSION, DDIMScheduler
from palimpsest.models.weights import filled, tensors_of
from palimpsest.run import UserError

TEXT_WEIGHTS = "model.safetensors"
NETWORKS = ("unet", "vae", "text_encoder")


class Conditioned(nn.Module):
    """A UNet and its text encoder as network(noisy, timesteps, conditions) -> predicted noise.

    conditions: token ids (n, length) int64, or embeddings (n, length, width). What a frozen text encoder makes of a
    prompt is remembered.
    """

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel):
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder
        self._known: dict[bytes, Tensor] = {}

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings (n, length, width) of token ids (n, length)."""
        if any(parameter.requires_grad for parameter in self.text_encoder.parameters()):
            self._known.clear()
            return self.text_encoder(ids)[0]
        keys = [row.numpy().tobytes() for row in ids.cpu()]
        if fresh := sorted({key: number for number, key in enumerate(keys) if key not in self._known}.values()):
            with torch.no_grad():
                found = self.text_encoder(ids[fresh])[0]
            self._known |= {keys[number]: each for number, each in zip(fresh, found, strict=True)}
        return torch.stack([self._known[key] for key in keys])

    def forward(self, noisy: Tensor, timesteps: Tensor, conditions: Tensor) -> Tensor:
        """Predicted noise (n, c, h, w)."""
        given = conditions if conditions.is_floating_point() else self.embed(conditions)
        return self.unet(noisy, timesteps, given, return_dict=False)[0]


@dataclass(frozen=True)
class TextDiffusion:
    """The parts of a model. network: its UNet and text encoder; alphas_cumprod (T,): its schedule of noise."""

    network: Conditioned
    vae: AutoencoderKL
    tokenizer: CLIPTokenizer
    scheduler: DDIMScheduler
    folder: Path

    @property
    def alphas_cumprod(self) -> Tensor:
        """The share of the signal's variance left at each timestep (T,), on the network's device."""
        return self.scheduler.alphas_cumprod.to(device_of(self.network))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the latents of one picture."""
        config = self.network.unet.config
        return config.in_channels, config.sample_size, config.sample_size

    def with_network(self, network: Conditioned) -> "TextDiffusion":
        """The same model with an edited network."""
        return replace(self, network=network)

    def ids(self, prompts: Sequence[str]) -> Tensor:
        """Token ids (n, length) of prompts, padded, on the network's device; what does not fit is cut off (`cut`)."""
        given = self.tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt")
        return given["input_ids"].to(device_of(self.network))

    def cut(self, prompts: Sequence[str]) -> list[str]:
        """The prompts that have more tokens than the text encoder takes."""
        return [each for each in prompts if len(self.tokenizer(each)["input_ids"]) > self.tokenizer.model_max_length]

    def tell_cut(self, name: str, prompts: Sequence[str]) -> int:
        """How many prompts of a concept the text encoder does not see to their end, which is said."""
        if cut := self.cut(prompts):
            print(
                f"concept {name}: {len(cut)} of {len(prompts)} prompts have more than "
                f"{self.tokenizer.model_max_length} tokens and are cut off, the first: {cut[0]}"
            )
        return len(cut)


def open_model(path: Path, device: torch.device | str = "cpu") -> TextDiffusion:
    """The model behind the file of a UNet's weights, in evaluation mode and frozen; every key and shape is checked.

    Raises UserError for a folder of another layout, and for a model that does not predict noise.
    """
    folder = path.parent.parent
    for needed in (*(f"{part}/config.json" for part in NETWORKS), "scheduler/scheduler_config.json"):
        if not (folder / needed).exists():
            raise UserError(f"{folder / needed} is missing: {folder} is not in the layout of Stable Diffusion 1.x")
    with torch.device("meta"):  # a large one takes half a minute to be made with random weights
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(path.parent))
    unet = filled(unet, path)
    text = CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder"))
    scheduler = scheduler_of(DDIMScheduler, DDIMScheduler.load_config(folder / "scheduler"))
    if scheduler.config.prediction_type != "epsilon":
        raise UserError(
            f"{folder} has the prediction type {scheduler.config.prediction_type!r}: the losses of this package are "
            "written for a network that predicts noise (epsilon), as Stable Diffusion 1 does"
        )
    if unet.config.cross_attention_dim != text.config.hidden_size:
        raise UserError(
            f"{folder}: the UNet takes texts of width {unet.config.cross_attention_dim}, the text encoder gives "
            f"{text.config.hidden_size}. They are not of one model: Stable Diffusion 1 has 768, Stable Diffusion 2 1024"
        )
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    check_tokenizer(tokenizer, text.config, folder)
    # A quarter faster, on a CPU as on a GPU: convolutions take pictures with their channels last.
    unet = unet.to(memory_format=torch.channels_last)
    network = Conditioned(unet, filled(text, folder / "text_encoder" / TEXT_WEIGHTS))
    return TextDiffusion(
        network.eval().requires_grad_(False).to(device),
        autoencoder.load(folder / "vae" / WEIGHTS).to(device),
        tokenizer,
        scheduler,
        folder,
    )


def check_tokenizer(tokenizer: CLIPTokenizer, text: CLIPTextConfig, folder: Path) -> None:
    """Raise UserError for the tokenizer of another text encoder: its numbers would stand for other words."""
    if len(tokenizer) != text.vocab_size or tokenizer.model_max_length > text.max_position_embeddings:
        raise UserError(
            f"{folder / 'tokenizer'} has {len(tokenizer)} tokens and prompts of {tokenizer.model_max_length}, the text "
            f"encoder {text.vocab_size} and {text.max_position_embeddings}: it is another model's tokenizer. Fetch the "
            "folder of the model again, all of it from one place"
        )


def renamed_text(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A text encoder's tensors under today's names, without the numbers of the places, which are no weights."""
    return {
        key.removeprefix("text_model."): value
        for key, value in state.items()
        if not key.endswith("embeddings.position_ids")
    }


def random_like(model: TextDiffusion) -> TextDiffusion:
    """The same model with random weights in its UNet and text encoder; the autoencoder stays."""
    unet, text = model.network.unet, model.network.text_encoder
    fresh = Conditioned(UNet2DConditionModel.from_config(unet.config), CLIPTextModel(text.config))
    return model.with_network(fresh.eval().requires_grad_(False))


def save(path: Path, model: TextDiffusion) -> None:
    """Write the UNet's weights to a path in `unet/`, and the rest of the layout around it, in float32."""
    folder, unet, text = path.parent.parent, model.network.unet, model.network.text_encoder
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": VERSION,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "vae").mkdir(parents=True, exist_ok=True)
    autoencoder.save(folder / "vae" / WEIGHTS, model.vae)
    unet.save_config(path.parent)
    text.config.save_pretrained(folder / "text_encoder")
    safetensors.torch.save_file(tensors_of(text), folder / "text_encoder" / TEXT_WEIGHTS, metadata={"format": "pt"})
    model.tokenizer.save_pretrained(folder / "tokenizer")
    model.scheduler.save_config(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    safetensors.torch.save_file(tensors_of(unet), path, metadata={"format": "pt"})


def sampler_of(model: TextDiffusion, steps: int) -> DDIMScheduler:
    """The deterministic sampler of a model at so many timesteps, spaced as its own configuration says."""
    sampler = scheduler_of(DDIMScheduler, model.scheduler.config)
    sampler.set_timesteps(steps)
    return sampler


def guided(network: Conditioned, noisy: Tensor, timestep: Tensor, wanted: Tensor, none: Tensor, scale: float) -> Tensor:
    """Predicted noise with classifier-free guidance (Ho and Salimans 2022) of a scale; 1 is none.

    wanted: conditions (n, ...); none: that of the empty prompt, (1, ...).
    """
    if scale == 1:
        return network(noisy, timestep, wanted)
    conditions = torch.cat([none.expand(len(noisy), *none.shape[1:]), wanted])
    without, with_it = network(noisy.repeat(2, 1, 1, 1), timestep, conditions).chunk(2)
    return without + scale * (with_it - without)


@torch.inference_mode()
def sample(
    model: TextDiffusion,
    conditions: Tensor,
    noise: Tensor,
    *,
    steps: int,
    guidance: float,
    batch: int = 32,
) -> Tensor:
    """Latents (n, c, h, w) on the CPU that the model draws from noise (n, c, h, w) under conditions (n, ...)."""
    network, device = model.network, device_of(model.network)
    embeddings = conditions if conditions.is_floating_point() else network.embed(conditions)
    parts = zip(noise.to(device).split(batch), embeddings.split(batch), strict=True)
    return torch.cat([denoised(model, *part, steps=steps, guidance=guidance).cpu() for part in parts])


@torch.inference_mode()
def denoised(
    model: TextDiffusion,
    noisy: Tensor,
    wanted: Tensor,
    *,
    steps: int,
    guidance: float,
    first: int = 0,
    after: Callable[[Tensor, Tensor | None], Tensor] = lambda latents, timestep: latents,
) -> Tensor:
    """Latents from noisy ones (n, c, h, w) at the sampler's `first` step, under embeddings (n, length, width).

    after: changes the latents after each step, whose next timestep it is given, None after the last.
    """
    sampler, none = sampler_of(model, steps), model.network.embed(model.ids([""]))
    times = list(sampler.timesteps[first:])
    for timestep, following in zip(times, [*times[1:], None], strict=True):
        predicted = guided(model.network, noisy, timestep, wanted, none, guidance)
        noisy = after(sampler.step(predicted, timestep, noisy, return_dict=False)[0], following)
    return noisy


def noise_of(model: TextDiffusion, indices: np.ndarray, seed: int) -> Tensor:
    """Standard normal latents (n, c, h, w), each a function of its index and the seed only."""
    return drawn_noise(seed, indices, model.shape)


def draw(
    model: TextDiffusion, prompts: Sequence[str], indices: np.ndarray, *, steps: int, guidance: float, seed: int
) -> np.ndarray:
    """Pictures of prompts, one each: the same index and seed start from the same noise."""
    latents = sample(model, model.ids(prompts), noise_of(model, indices, seed), steps=steps, guidance=guidance)
    return autoencoder.decode(model.vae, latents)
