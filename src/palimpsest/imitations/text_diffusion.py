"""A pipeline of Stable Diffusion 1.x with random weights as the Hub has it: a folder a part, weights as safetensors.

Names are those of the published files: `text_model.` before the text encoder's, the autoencoder's attention by its old
ones. The tokenizer has as many tokens as the published one and knows letters, digits and marks only: a vocabulary is no
random weight.
"""

import json
import re
import string
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from palimpsest.imitations.diffusion import OLD_NAMES
from palimpsest.models.latent_networks import AutoencoderKL, CLIPTextConfig, CLIPTextModel, UNet2DConditionModel

UNET = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
VAE = {
    "sample_size": 512,
    "latent_channels": 4,
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
}
TEXT = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "quick_gelu",
    "projection_dim": 768,
}
SCHEDULE = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
ARCHITECTURES = {"stable_diffusion_1_4": (UNET, VAE, TEXT)}
SIGNS = [*string.ascii_lowercase, *string.digits, *"!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~"]
MARKS = ["<|startoftext|>", "<|endoftext|>"]
# Whole words, which no text is read as without merges: candidates of an attack that searches for words.
WORDS = ["amber", "copper", "granite"]
WEIGHTS = "diffusion_pytorch_model.safetensors"


def imitate(folder: Path, files: list[str], name: str, size: int | None = None) -> None:
    """Write the published pipeline of this name; size: of its latents, the published one unless given."""
    unet, vae, text = (dict(part) for part in ARCHITECTURES[name])
    if size:
        unet["sample_size"], vae["sample_size"] = size, 8 * size
    write(folder, unet, vae, text)


def write(folder: Path, unet: dict, vae: dict, text: dict, length: int = 77) -> None:
    """A pipeline of these architectures."""
    (folder / "text_encoder").mkdir(parents=True)
    start = text["vocab_size"] - 2
    marks = {"bos_token_id": start, "eos_token_id": start + 1, "pad_token_id": 1, "max_position_embeddings": length}
    encoder = CLIPTextModel(CLIPTextConfig(**text, **marks))
    encoder.config.save_pretrained(folder / "text_encoder")
    state = {f"text_model.{name}": tensor for name, tensor in encoder.state_dict().items()}
    state["text_model.embeddings.position_ids"] = torch.arange(length)[None]
    save(folder / "text_encoder/model.safetensors", state)
    for part, network in {"unet": UNet2DConditionModel(**unet), "vae": AutoencoderKL(**vae)}.items():
        network.save_config(folder / part)
        state = network.state_dict()
        save(folder / part / WEIGHTS, old_names(state) if part == "vae" else state)
    (folder / "scheduler").mkdir()
    write_json(folder / "scheduler/scheduler_config.json", SCHEDULE)
    write_tokenizer(folder / "tokenizer", text["vocab_size"], length)
    parts = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "scheduler": "PNDMScheduler"}
    index = {part: ["diffusers", kind] for part, kind in parts.items()}
    index |= {"text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    write_json(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline", **index})


def save(path: Path, state: dict[str, Tensor]) -> None:
    """Write tensors as safetensors."""
    safetensors.torch.save_file({key: value.contiguous() for key, value in state.items()}, path, {"format": "pt"})


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """An autoencoder's tensors, its attention by its old names."""
    new = "|".join(map(re.escape, OLD_NAMES))
    return {re.sub(rf"\.({new})\.", lambda found: f".{OLD_NAMES[found[1]]}.", key): each for key, each in state.items()}


def write_tokenizer(folder: Path, size: int, length: int) -> None:
    """CLIP's tokenizer, of letters and some words, in the published files; tokens beyond them stand for nothing."""
    folder.mkdir()
    known = [*SIGNS, *(f"{sign}</w>" for sign in [*SIGNS, *WORDS])]
    words = [*known, *(f"unused {number}" for number in range(size - len(known) - len(MARKS))), *MARKS]
    start, end = MARKS
    marks = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": length, **marks}
    write_json(folder / "vocab.json", {word: number for number, word in enumerate(words)})
    write_json(folder / "special_tokens_map.json", marks)
    write_json(folder / "tokenizer_config.json", settings)
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")


def write_json(path: Path, content: dict) -> None:
    """Write JSON."""
    path.write_text(json.dumps(content), encoding="utf-8")
