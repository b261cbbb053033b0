"""Stable Diffusion 3 in the Hub's layout: diffusers' pipeline in parts, its latents, and same-seed pictures.

Latents are the VAE's posterior means, shifted and scaled as the pipeline does. Pictures are (n, h, w, 3) uint8.
"""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, T5EncoderModel

from palimpsest.models.forward_process import drawn_noise
from palimpsest.models.pixels import to_tensor, to_uint8
from palimpsest.run import UserError

TEXT_PARTS = ("text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer", "tokenizer_2", "tokenizer_3")
NETWORKS = {
    "transformer": SD3Transformer2DModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModelWithProjection,
    "text_encoder_2": CLIPTextModelWithProjection,
    "text_encoder_3": T5EncoderModel,
}
# Numbers from zero on, which older files held as if they were weights.
OBSOLETE = {"text_model.embeddings.position_ids"}
EMBEDDINGS = ("prompt", "negative", "pooled", "negative_pooled")  # as the pipeline gives them


def folder_of(checked: Path) -> Path:
    """Where a pipeline lies whose weights were compared with their hashes."""
    return Path(json.loads(checked.read_text(encoding="utf-8"))["folder"])


def open_pipeline(checked: Path, device: torch.device, texts: bool = True) -> StableDiffusion3Pipeline:
    """The pipeline, without its text encoders where `texts` is false; in bfloat16 on a GPU, else in float32.

    Raises UserError as `load_network` does.
    """
    folder, left_out = folder_of(checked), {} if texts else dict.fromkeys(TEXT_PARTS)
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    loaded = {name: load_network(folder / name, kind) for name in NETWORKS if name not in left_out}
    try:
        pipeline = StableDiffusion3Pipeline.from_pretrained(folder, local_files_only=True, **left_out, **loaded)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{folder} is no folder of a Stable Diffusion 3 pipeline: {error}") from error
    pipeline.set_progress_bar_config(mininterval=5)
    return pipeline.to(device)


def load_transformer(checked: Path) -> SD3Transformer2DModel:
    """The transformer, frozen and in float32: it is published in half precision, in which nothing is trained."""
    return load_network(folder_of(checked) / "transformer", torch.float32).requires_grad_(False)


def load_network(folder: Path, kind: torch.dtype) -> nn.Module:
    """A network of the pipeline by its folder's name, in evaluation mode.

    Raises UserError where a key or shape does not fit: the libraries would give it random weights and go on.
    """
    try:
        network, found = NETWORKS[folder.name].from_pretrained(
            folder, dtype=kind, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{folder} is no {folder.name} of a Stable Diffusion 3 pipeline: {error}") from error
    faults = {
        key: sorted(map(str, set(found[key]) - OBSOLETE))
        for key in ("missing_keys", "unexpected_keys", "mismatched_keys")
    }
    if any(faults.values()):
        listed = "; ".join(f"{key} {', '.join(names[:20])}" for key, names in faults.items() if names)
        raise UserError(f"{folder} does not fit its own config.json; {listed}. Fetch the folder again.")
    return network.eval()


@torch.inference_mode()
def encode(pipeline: StableDiffusion3Pipeline, pictures: np.ndarray) -> Tensor:
    """Latents (n, c, h / 8, w / 8), float32 on the CPU. Raises UserError for a side that the patches do not divide."""
    vae, patch = pipeline.vae, pipeline.vae_scale_factor * pipeline.patch_size
    if pictures.shape[1] % patch or pictures.shape[2] % patch:
        raise UserError(f"pictures are {pictures.shape[2]} x {pictures.shape[1]} pixels: give multiples of {patch}")
    found = [
        vae.encode(to_tensor(one[None]).to(vae.device, vae.dtype)).latent_dist.mode().float().cpu() for one in pictures
    ]
    return (torch.cat(found) - vae.config.shift_factor) * vae.config.scaling_factor


def embeddings_of(pipeline: StableDiffusion3Pipeline, prompt: str) -> dict[str, np.ndarray]:
    """The embeddings of a prompt, and of the empty one that guidance leads away from, by name (EMBEDDINGS)."""
    with torch.inference_mode():
        found = pipeline.encode_prompt(prompt, None, None, negative_prompt="", device=pipeline.device)
    return {name: each.float().cpu().numpy() for name, each in zip(EMBEDDINGS, found, strict=True)}


def latents_of(
    pipeline: StableDiffusion3Pipeline,
    texts: dict[str, np.ndarray],
    indices: np.ndarray,
    size: tuple[int, int],
    *,
    steps: int,
    guidance: float,
    seed: int,
) -> Tensor:
    """Latents of samples under a prompt, one per index, float32 on the CPU; size: (h, w) in pixels.

    The same index and seed start from the same noise; one at a time, as the model is large and no batch then matters.
    """
    kind, device = pipeline.transformer.dtype, pipeline.transformer.device
    prompt, negative, pooled, negative_pooled = (torch.from_numpy(texts[name]).to(device, kind) for name in EMBEDDINGS)
    height, width = size
    shape = (
        pipeline.transformer.config.in_channels,
        height // pipeline.vae_scale_factor,
        width // pipeline.vae_scale_factor,
    )
    found = [
        pipeline(
            prompt_embeds=prompt,
            negative_prompt_embeds=negative,
            pooled_prompt_embeds=pooled,
            negative_pooled_prompt_embeds=negative_pooled,
            latents=drawn_noise(seed, indices[[place]], shape).to(device, kind),
            height=height,
            width=width,
            num_inference_steps=steps,
            guidance_scale=guidance,
            output_type="latent",
        ).images
        for place in range(len(indices))
    ]
    return torch.cat(found).float().cpu()


@torch.inference_mode()
def decode(pipeline: StableDiffusion3Pipeline, latents: Tensor) -> np.ndarray:
    """Pictures of latents."""
    vae = pipeline.vae
    raw = latents / vae.config.scaling_factor + vae.config.shift_factor
    return np.concatenate([to_uint8(vae.decode(one[None].to(vae.device, vae.dtype)).sample) for one in raw])
