"""Diffusion models of pixels with random weights as the Hub's older repositories have them: all at the root.

The weights are in torch's own format, with the attention's old names.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from palimpsest.models.unet import DDPMScheduler, UNet2DModel

# config.json and scheduler_config.json of google/ddpm-celebahq-256.
ARCHITECTURES = {
    "ddpm_celebahq": {
        "sample_size": 256,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": [128, 128, 256, 256, 512, 512],
        "layers_per_block": 2,
        "down_block_types": [*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4],
        "attention_head_dim": None,
        "norm_num_groups": 32,
        "norm_eps": 1e-6,
        "act_fn": "silu",
        "freq_shift": 1,
        "flip_sin_to_cos": False,
        "downsample_padding": 0,
    }
}
LINEAR = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "clip_sample": True}
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
WEIGHTS = "diffusion_pytorch_model.bin"


def imitate(folder: Path, files: list[str], name: str) -> None:
    """Write config.json, scheduler_config.json and the weights of the published model of this name."""
    write(folder, UNet2DModel(**ARCHITECTURES[name]), DDPMScheduler(**LINEAR))


def write(folder: Path, network: UNet2DModel, scheduler: DDPMScheduler) -> Path:
    """A folder as the Hub has it; gives the path of the weights."""
    network.save_config(folder)
    scheduler.save_config(folder)
    torch.save(old_state(network), folder / WEIGHTS)
    return folder / WEIGHTS


def old_state(network: UNet2DModel) -> dict[str, Tensor]:
    """The state dict with the attention's names of the published files."""
    new_names = "|".join(re.escape(name) for name in OLD_NAMES)
    return {
        re.sub(rf"\.({new_names})\.", lambda match: f".{OLD_NAMES[match[1]]}.", name): tensor
        for name, tensor in network.state_dict().items()
    }
