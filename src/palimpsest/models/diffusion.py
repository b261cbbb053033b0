"""Diffusion models of pixels: diffusers' UNet2DModel and its scheduler, in the Hub's folder layout.

A model is known by the file of its weights, <folder>/unet/diffusion_pytorch_model.safetensors; beside it stand the
architecture (unet/config.json), the scheduler and the index, so that `DDPMPipeline.from_pretrained(folder)` loads it.
A published model may also have everything at the root of its folder, and weights in torch's format, <name>.bin.
Networks see images (n, c, h, w) in [-1, 1]; what is sampled is given as pictures (n, h, w, c) uint8.
"""

import inspect
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from palimpsest.models.forward_process import add_noise, drawn_noise
from palimpsest.models.pixels import to_tensor, to_uint8
from palimpsest.models.published import read_state
from palimpsest.models.unet import VERSION, DDIMScheduler, DDPMScheduler, UNet2DModel
from palimpsest.models.weights import check_state, tensors_of
from palimpsest.run import UserError

WEIGHTS = "diffusion_pytorch_model.safetensors"


def save(path: Path, network: UNet2DModel, scheduler: DDPMScheduler) -> None:
    """Write the weights to a path in `unet/`, and the rest of the layout around it."""
    folder = path.parent.parent
    index = {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": VERSION,
        "scheduler": ["diffusers", type(scheduler).__name__],
        "unet": ["diffusers", type(network).__name__],
    }
    network.save_config(path.parent)
    scheduler.save_config(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    safetensors.torch.save_file(tensors_of(network), path, metadata={"format": "pt"})


def load(path: Path, device: torch.device | str = "cpu") -> tuple[UNet2DModel, DDPMScheduler]:
    """The network, in evaluation mode, and its scheduler; every key and shape is checked.

    Old names of the attention (query, key, value, proj_attn) are converted by diffusers.
    Raises UserError for a file that is not in the layout, and for a scheduler that our losses do not fit.
    """
    in_parts = path.parent.name == "unet"
    place = path.parent.parent / "scheduler" if in_parts else path.parent
    for needed in (path.parent / "config.json", place / "scheduler_config.json"):
        if not needed.exists():
            raise UserError(
                f"{needed} is missing: {path.parent.parent if in_parts else path.parent} is not in the diffusers "
                "layout (unet/, scheduler/; or everything at the root)"
            )
    network = UNet2DModel.from_config(UNet2DModel.load_config(path.parent))
    scheduler = scheduler_of(DDPMScheduler, DDPMScheduler.load_config(place))
    state = network._fix_state_dict_keys_on_load(read_state(path))
    check_state(state, network, path)
    network.load_state_dict(state)
    if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        raise UserError(
            f"{place} has the prediction type {scheduler.config.prediction_type!r}: the losses of this package are "
            "written for a network from which noise can be read at every timestep (epsilon, v_prediction)"
        )
    # Convolutions on a processor are a tenth faster where channels lie together.
    network = network.eval().requires_grad_(False)
    return nn.Module.to(network, device, memory_format=torch.channels_last), scheduler


def device_of(network: nn.Module) -> torch.device:
    """Where a network computes. Its own `device`, as its own `to`, would load peft and torch's compiler first."""
    return next(network.parameters()).device


def scheduler_of(kind: type, config: dict) -> DDPMScheduler | DDIMScheduler:
    """A scheduler of this kind from a configuration that may be another kind's; it keeps what it does not use.

    As `kind.from_config`, which first loads every scheduler of diffusers, and scipy's statistics with them.
    """
    config = {name: value for name, value in config.items() if not name.startswith("_")}
    own = inspect.signature(kind).parameters
    scheduler = kind(**{name: value for name, value in config.items() if name in own})
    scheduler.register_to_config(**{name: value for name, value in config.items() if name not in own})
    return scheduler


class NoisePredictor(nn.Module):
    """A UNet2DModel as network(noisy, timesteps) -> predicted noise; of one class, if it is conditional.

    Of one that predicts v = sqrt(a) noise - sqrt(1 - a) image (Salimans and Ho 2022) the noise is
    sqrt(a) v + sqrt(1 - a) noisy. Other classes may be given; `unconditional` is the number of the class of no picture.
    """

    def __init__(self, unet: UNet2DModel, scheduler: DDPMScheduler, label: int | None = None):
        super().__init__()
        self.unet, self.label = unet, label
        self.unconditional = (unet.config.num_class_embeds or 0) - 1
        self.velocity = scheduler.config.prediction_type == "v_prediction"
        self.register_buffer("alphas_cumprod", scheduler.alphas_cumprod.to(device_of(unet)), persistent=False)

    def forward(self, noisy: Tensor, timesteps: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is None and self.label is not None:
            labels = torch.full((len(noisy),), self.label, device=noisy.device)
        predicted = self.unet(noisy, timesteps, class_labels=labels, return_dict=False)[0]
        return add_noise(noisy, predicted, 1 - self.alphas_cumprod, timesteps) if self.velocity else predicted


def ddim(scheduler: DDPMScheduler, steps: int) -> DDIMScheduler:
    """The deterministic sampler (Song et al. 2021, eta 0) of a model, at so many evenly spaced timesteps.

    They end at the last one, pure noise ("trailing"): a sampler that starts from noise at an earlier one loses what
    little signal is there (Lin et al. 2024, section 3.3).
    """
    sampler = scheduler_of(DDIMScheduler, scheduler.config | {"timestep_spacing": "trailing"})
    sampler.set_timesteps(steps)
    return sampler


@torch.inference_mode()
def sample(
    network: UNet2DModel,
    scheduler: DDPMScheduler,
    indices: np.ndarray,
    *,
    steps: int,
    seed: int,
    batch: int = 64,
    labels: Tensor | None = None,
) -> np.ndarray:
    """Pictures (n, h, w, c) uint8, one per index: the same index and seed start from the same noise."""

    def denoised(noise: Tensor, part: slice) -> Tensor:
        some = None if labels is None else labels[part].to(noise.device)
        return denoise(network, ddim(scheduler, steps), noise, 0, some)

    return from_noise(network, indices, seed, batch, denoised)


@torch.inference_mode()
def sample_ancestral(
    network: UNet2DModel, scheduler: DDPMScheduler, indices: np.ndarray, *, seed: int, batch: int = 64
) -> np.ndarray:
    """As `sample`, by the ancestral sampler (Ho et al. 2020) at every timestep; its noise is each batch's own."""
    sampler = scheduler_of(DDPMScheduler, scheduler.config)

    def denoised(noisy: Tensor, part: slice) -> Tensor:
        generator = torch.Generator().manual_seed(int(np.random.default_rng((seed, part.start)).integers(2**31)))
        for timestep in sampler.timesteps:
            predicted = network(noisy, timestep, return_dict=False)[0]
            noisy = sampler.step(predicted, timestep, noisy, generator=generator, return_dict=False)[0]
        return noisy.clamp(-1, 1)

    return from_noise(network, indices, seed, batch, denoised)


def from_noise(
    network: UNet2DModel,
    indices: np.ndarray,
    seed: int,
    batch: int,
    denoised: Callable[[Tensor, slice], Tensor],
) -> np.ndarray:
    """Pictures (n, h, w, c) uint8 of the noise of each index; denoised(noise, which of the indices) in [-1, 1]."""
    size, channels, device = network.config.sample_size, network.config.in_channels, device_of(network)
    pictures = np.empty((len(indices), size, size, channels), np.uint8)
    for start in range(0, len(indices), batch):
        part = slice(start, start + batch)
        pictures[part] = to_uint8(denoised(drawn_noise(seed, indices[part], (channels, size, size)).to(device), part))
    return pictures


@torch.inference_mode()
def injected(
    network: UNet2DModel,
    scheduler: DDPMScheduler,
    pictures: np.ndarray,
    *,
    timestep: int,
    draws: int,
    steps: int,
    seed: int,
    batch: int = 64,
) -> np.ndarray:
    """Pictures (n, h, w, c), noised to a timestep and denoised again, once per noise draw: (n, draws, h, w, c) uint8.

    How SISS asks whether a model still knows a picture (Alberti et al. 2025). Every one gets the same draws. The
    timestep is taken down to the nearest one of the sampler, which has `steps` of them from end to end, or to its last.
    """
    device, sampler = device_of(network), ddim(scheduler, steps)
    first = min(int((sampler.timesteps > timestep).sum()), steps - 1)
    images = to_tensor(pictures)
    noise = drawn_noise(seed, np.arange(draws), tuple(images.shape[1:])).repeat(len(images), 1, 1, 1)
    times = sampler.timesteps[first].repeat(len(noise))
    noisy = add_noise(images.repeat_interleave(draws, 0), noise, sampler.alphas_cumprod, times)
    parts = [to_uint8(denoise(network, ddim(scheduler, steps), part.to(device), first)) for part in noisy.split(batch)]
    return np.concatenate(parts).reshape(len(pictures), draws, *pictures.shape[1:])


def denoise(
    network: UNet2DModel, sampler: DDIMScheduler, noisy: Tensor, first: int, labels: Tensor | None = None
) -> Tensor:
    """Follow the sampler from its `first` timestep to the end; the result in [-1, 1]."""
    for timestep in sampler.timesteps[first:]:
        predicted = network(noisy, timestep, class_labels=labels, return_dict=False)[0]
        noisy = sampler.step(predicted, timestep, noisy, return_dict=False)[0]
    return noisy.clamp(-1, 1)
