"""Low-rank adapters of a network's layers: W becomes W + B A, merged into it, or gated by a prompt (`models.gated`).

Their tensors are named as diffusers and peft name them, `<layer>.lora_A.weight`, A, and `<layer>.lora_B.weight`, B, and
their scale is one, as diffusers takes it without another word. Nothing here needs peft, which takes seconds to load.
"""

import torch
from torch import Tensor, nn

ADAPTER = "default"  # the name that peft gives them in a network
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a network's adapters; none where it has none."""
    return {
        name.replace(f".{ADAPTER}.", "."): tensor.detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
        if ".lora_" in name
    }


def pairs(network: nn.Module, state: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B by the name of the layer that they are of, a linear one or a convolution.

    Raises ValueError where a tensor has no place in the network, or not its shape, and where one is missing.
    """
    layers = sorted({name.removesuffix(DOWN).removesuffix(UP) for name in state})
    wanted = [f"{layer}{half}" for layer in layers for half in (DOWN, UP)]
    if missing := [name for name in wanted if name not in state]:
        raise ValueError(f"it lacks {', '.join(missing[:5])}")
    known, found = network.state_dict(), {}
    for layer in layers:
        if f"{layer}.weight" not in known:
            raise ValueError(f"there is no {layer}")
        down, up, weight = state[f"{layer}{DOWN}"], state[f"{layer}{UP}"], known[f"{layer}.weight"]
        if (len(up), *down.shape[1:]) != weight.shape or up.shape[1] != len(down):
            shapes = " and ".join(str(tuple(each.shape)) for each in (down, up))
            raise ValueError(f"those of {layer} are {shapes}, its weight {tuple(weight.shape)}")
        found[layer] = down, up
    return found


@torch.no_grad()
def merge(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Add B A to the weight of each layer, in place. Raises ValueError for what does not fit (`pairs`)."""
    for layer, (down, up) in pairs(network, state).items():
        weight = network.get_submodule(layer).weight
        weight += (up.flatten(1) @ down.flatten(1)).view_as(weight).to(weight)
