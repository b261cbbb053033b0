"""The networks that more than one part of the bench times."""

from typing import Protocol

import torch

from palimpsest.models.latent_networks import UNet2DConditionModel


class Shape(Protocol):
    """A UNet's channels and layers, the side of its latents, its texts (length, width), heads and groups."""

    channels: tuple[int, ...]
    layers: int
    side: int
    text: tuple[int, int]
    heads: int
    groups: int


def conditional_unet(shape: Shape) -> UNet2DConditionModel:
    """A network with random weights, the same every time; Stable Diffusion 1.4's blocks."""
    torch.manual_seed(0)
    plain = len(shape.channels) - 1
    return UNet2DConditionModel(
        sample_size=shape.side,
        block_out_channels=shape.channels,
        down_block_types=("CrossAttnDownBlock2D",) * plain + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * plain,
        layers_per_block=shape.layers,
        cross_attention_dim=shape.text[1],
        attention_head_dim=shape.heads,
        norm_num_groups=shape.groups,
    )
