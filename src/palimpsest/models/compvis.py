"""The UNet of Stable Diffusion 1.x by its first authors' names, which others' erased checkpoints often have.

What diffusers calls down_blocks.0.resnets.1.conv1 is input_blocks.2.0.in_layers.2 there: blocks are counted through,
and the layers of a residual block have numbers. Tensors are the same.
"""

import re

from torch import Tensor

PREFIXES = ("model.diffusion_model.", "diffusion_model.")
ENDS = {
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "conv_in.": "input_blocks.0.0.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
}
RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}


def name_of(ours: str, layers: int, attended: set[int]) -> str:
    """The first authors' name of a tensor of diffusers' UNet.

    layers: residual blocks of a level; attended: numbers of the up blocks with attention, after which their own
    upsampling comes.
    """
    for start, theirs in ENDS.items():
        if ours.startswith(start):
            return theirs + ours.removeprefix(start)
    if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", ours):
        kind, number, rest = found.groups()
        return f"middle_block.1.{rest}" if kind == "attentions" else f"middle_block.{2 * int(number)}.{layer(rest)}"
    level, kind, number, rest = re.fullmatch(r"(\w+_blocks\.\d+)\.(\w+)\.(\d+)\.(.+)", ours).groups()
    side, place = level.split("_blocks.")
    first, number = (layers + 1) * int(place), int(number)
    if kind == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{first + layers}.{1 + (int(place) in attended)}.{rest}"
    block = f"input_blocks.{first + number + 1}" if side == "down" else f"output_blocks.{first + number}"
    return f"{block}.1.{rest}" if kind == "attentions" else f"{block}.0.{layer(rest)}"


def layer(rest: str) -> str:
    """A layer of a residual block by its number."""
    own, _, parameter = rest.rpartition(".")
    return f"{RESIDUAL[own]}.{parameter}"


def is_compvis(state: dict[str, Tensor]) -> bool:
    """Whether tensors have the first authors' names."""
    return any(key.startswith((*PREFIXES, "input_blocks.")) for key in state)


def renamed(state: dict[str, Tensor], wanted: list[str], layers: int) -> dict[str, Tensor]:
    """A UNet's tensors by diffusers' names; those of the first authors that stand for none keep theirs.

    wanted: the names that diffusers' UNet has. Of a whole model's checkpoint the UNet is taken.
    """
    prefix = next((each for each in PREFIXES if any(key.startswith(each) for key in state)), "")
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    attended = {int(found[1]) for name in wanted if (found := re.match(r"up_blocks\.(\d+)\.attentions", name))}
    theirs = {name_of(name, layers, attended): name for name in wanted}
    return {theirs.get(key, key): value for key, value in own.items()}
