"""State dicts with random weights in torch's old format, as torchvision publishes them."""

from pathlib import Path

import torch
from torch import nn


def alexnet() -> nn.Sequential:
    """`features` of torchvision's AlexNet."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
    )


ARCHITECTURES = {"alexnet": alexnet}


def imitate(folder: Path, files: list[str], name: str) -> None:
    """Write the one file of the published network of this name."""
    write(folder / files[0], ARCHITECTURES[name]())


def write(path: Path, trunk: nn.Sequential, **changes) -> Path:
    """The published state dict, of parameters: the trunk, and of the classifier one layer, which nothing here reads."""
    state = {f"features.{name}": nn.Parameter(tensor) for name, tensor in trunk.state_dict().items()}
    state |= {"classifier.6.bias": torch.zeros(1000), **changes}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path
