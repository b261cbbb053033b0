"""CLIP's tower of pictures (Radford et al. 2021): read strictly from the Hub's layout, and kept as one safetensors.

The Hub has config.json and the weights of both towers, as model.safetensors or pytorch_model.bin. The tower of pictures
and its projection are taken, and every key of theirs has to fit; that of texts is left out.
"""

import json
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from palimpsest.models import weights
from palimpsest.models.published import read_state
from palimpsest.run import UserError

SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size")
ACTIVATIONS = ("quick_gelu", "gelu")
# What else is in the file: the tower of texts, and the numbers of the places, which newer versions do not keep.
LEFT_OUT = ("text_model.", "text_projection.", "logit_scale", "vision_model.embeddings.position_ids")


def read_published(config: Path, file: Path) -> tuple[dict, dict[str, Tensor]]:
    """The architecture and the float32 weights of the tower of pictures; no code of a file runs.

    Raises UserError for a config.json that describes something else, and for weights of which a key is missing, is
    unexpected or has another shape: all of them are listed.
    """
    architecture = read_architecture(config)
    state = {key: value for key, value in read_state(file).items() if not key.startswith(LEFT_OUT)}
    weights.check_state(state, build(architecture), file)
    if broken := [key for key, value in state.items() if not torch.isfinite(value).all()]:
        raise UserError(f"{file} is damaged: {', '.join(broken[:5])} hold no finite numbers. Fetch it again.")
    return architecture, {key: value.float() for key, value in state.items()}


def read_architecture(config: Path) -> dict:
    """The settings of CLIPVisionConfig that a published config.json states."""
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        vision, projection = content["vision_config"], content["projection_dim"]
        found = {key: vision[key] for key in (*SIZES, "hidden_act", "layer_norm_eps")}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{config} describes no CLIP: projection_dim, and vision_config with {', '.join(SIZES)}, hidden_act and "
            f"layer_norm_eps ({type(error).__name__}: {error}). Give the config.json that belongs to the weights."
        ) from error
    found |= {"projection_dim": projection, "num_channels": vision.get("num_channels", 3)}
    sizes = {key: found[key] for key in (*SIZES, "projection_dim", "num_channels")}
    faults = [f"{key} is {value!r}" for key, value in sizes.items() if type(value) is not int or value < 1]
    if found["hidden_act"] not in ACTIVATIONS:
        faults.append(f"hidden_act is {found['hidden_act']!r}")
    if not faults and found["hidden_size"] % found["num_attention_heads"]:
        faults.append("hidden_size is no multiple of num_attention_heads")
    if faults:
        raise UserError(f"{config} describes a network that cannot be loaded here: {'; '.join(faults)}.")
    return found


def build(architecture: dict) -> CLIPVisionModelWithProjection:
    """The network without weights: on torch's device `meta`, where shapes alone are kept."""
    with torch.device("meta"):
        return CLIPVisionModelWithProjection(CLIPVisionConfig(**architecture))


def filled(architecture: dict, state: dict[str, Tensor]) -> CLIPVisionModelWithProjection:
    """The network with these weights, in evaluation mode."""
    network = build(architecture)
    network.load_state_dict(state, assign=True)
    places = network.vision_model.embeddings
    places.position_ids = torch.arange(places.num_positions)[None]  # in no file
    return network.eval().requires_grad_(False)


def load(path: Path) -> CLIPVisionModelWithProjection:
    """The network that `convert_clip` wrote, in evaluation mode."""
    architecture = weights.read_config(path)
    state = read_state(path)
    weights.check_state(state, build(architecture), path)
    return filled(architecture, state)
