"""Weights as safetensors with the network's configuration in the file's metadata; loading is strict."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from palimpsest.models.published import read_state
from palimpsest.run import UserError


def save(path: Path, network: nn.Module, config: dict) -> None:
    """Write a network's weights and its configuration."""
    save_file(tensors_of(network), path, metadata={"config": json.dumps(config, sort_keys=True)})


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """A network's tensors, as a file takes them."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def read_config(path: Path) -> dict:
    """The configuration in a weights file's metadata."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise UserError(f"{path} is no readable safetensors file ({error}). Delete it and make it again.") from error
    if "config" not in metadata:
        raise UserError(f"{path} holds no network configuration in its metadata: it was not written by palimpsest.")
    return json.loads(metadata["config"])


def load_into(path: Path, network: nn.Module) -> nn.Module:
    """Load a file into a network, every key and shape checked, and set it to evaluation."""
    check_state(load := load_file(path), network, path)
    network.load_state_dict(load)
    return network.eval().requires_grad_(False)


def filled(network: nn.Module, path: Path) -> nn.Module:
    """A network with the weights of a file that others may have written, every key and shape checked, in float32.

    The file's tensors are put in place, not copied: the network may have been made without any (torch's device `meta`).
    """
    state = read_state(path)
    check_state(state, network, path)
    network.load_state_dict(
        {name: each.float() if each.is_floating_point() else each for name, each in state.items()}, assign=True
    )
    return network


@torch.no_grad()
def halved(network: nn.Module) -> nn.Module:
    """The network with its weights rounded to half precision, in place: what is measured is what `save_half` keeps."""
    for parameter in network.parameters():
        parameter.copy_(parameter.half())
    return network


def save_half(path: Path, network: nn.Module) -> None:
    """Write a network's weights in half precision."""
    save_file({name: tensor.half() for name, tensor in tensors_of(network).items()}, path, metadata={"format": "pt"})


def save_part(path: Path, network: nn.Module, half: bool) -> None:
    """Write a network's weights, in half precision or as they are. A tensor under two names is written once."""
    if half:
        save_half(path, network)
    else:
        save_file(distinct(tensors_of(network)), path, metadata={"format": "pt"})


def distinct(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without what is another name of a tensor that it has already."""
    first: dict[int, str] = {}
    for name, tensor in state.items():
        first.setdefault(tensor.data_ptr(), name)
    return {name: tensor for name, tensor in state.items() if first[tensor.data_ptr()] == name}


def check_state(state: dict[str, Tensor], network: nn.Module, path: Path) -> None:
    """Raise a UserError that lists every missing, unexpected and mis-shaped key of a state dict."""
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    faults = [f"missing {name} {wanted[name]}" for name in sorted(wanted.keys() - given.keys())]
    faults += [f"unexpected {name} {given[name]}" for name in sorted(given.keys() - wanted.keys())]
    faults += [
        f"shape of {name} is {given[name]}, expected {wanted[name]}"
        for name in sorted(wanted.keys() & given.keys())
        if wanted[name] != given[name]
    ]
    if faults:
        shown = "\n  ".join(faults[:20]) + (f"\n  and {len(faults) - 20} more" if len(faults) > 20 else "")
        raise UserError(f"{path} does not fit the configured {type(network).__name__}; nothing was loaded:\n  {shown}")
