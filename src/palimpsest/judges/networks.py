"""The networks that judge the scenes world: a factor classifier and an emblem detector, both small and convolutional.

Images go in as (n, 3, H, W) in [-1, 1]. The classifier's feature maps also serve as a perceptual distance.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from palimpsest.models import weights

STRIDE = 4  # pixels per cell of the detector's grid


def _stage(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    """Two 3 x 3 convolutions with batch norm, the first with the stride."""
    layers = []
    for position, step in enumerate((stride, 1)):
        layers += [
            nn.Conv2d(channels if position else channels_in, channels, 3, stride=step, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


class Stages(nn.ModuleList):
    """The trunk of a judge: four stages, at strides 1, 2, 4 and 8; `channels` of the last."""

    def __init__(self, width: int):
        sizes = (width, 2 * width, 4 * width, 4 * width)
        super().__init__(
            _stage(previous, size, stride)
            for previous, size, stride in zip((3, *sizes[:-1]), sizes, (1, 2, 2, 2), strict=True)
        )
        self.channels = sizes[-1]

    def maps(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the stages."""
        found = []
        for layer in self:
            images = layer(images)
            found.append(images)
        return found


def mean_and_spread(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Of every channel of feature maps (n, c, h, w) over its places, (n, c) each."""
    return maps.mean((2, 3)), maps.std((2, 3))


class FactorClassifier(nn.Module):
    """One linear head per factor over globally averaged features."""

    def __init__(self, heads: dict[str, int], width: int):
        super().__init__()
        self.config = {"kind": "classifier", "heads": heads, "width": width}
        self.stages = Stages(width)
        self.heads = nn.ModuleDict({name: nn.Linear(self.stages.channels, values) for name, values in heads.items()})

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of the four stages, at strides 1, 2, 4 and 8."""
        return self.stages.maps(images)

    def appearance(self, images: Tensor) -> Tensor:
        """What a picture looks like (n, 22 width): mean and spread of every channel of the stages."""
        return torch.cat([part for layer in self.features(images) for part in mean_and_spread(layer)], 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (n, values) of each factor."""
        return self.read(self.features(images)[-1])

    def read(self, last_features: Tensor) -> dict[str, Tensor]:
        """Logits (n, values) of each factor from the last stage's features."""
        pooled = last_features.mean((2, 3))
        return {name: head(pooled) for name, head in self.heads.items()}


class EmblemDetector(nn.Module):
    """A one-class, anchor-free detector: each cell of a stride-4 grid has a score and the distances to the sides."""

    def __init__(self, width: int, depth: int = 2):
        super().__init__()
        self.config = {"kind": "detector", "width": width, "depth": depth}
        self.stem = nn.Sequential(_stage(3, width, 2), _stage(width, 2 * width, 2))
        self.context = nn.Sequential(*(_stage(2 * width, 2 * width, 1) for _ in range(depth)))
        self.score = nn.Conv2d(2 * width, 1, 1)
        self.sides = nn.Conv2d(2 * width, 4, 1)
        nn.init.constant_(self.score.bias, -4.0)  # emblems are rare: start from a low score

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Score logits (n, h, w) and left, top, right, bottom distances in pixels (n, 4, h, w)."""
        features = self.context(self.stem(images))
        return self.score(features)[:, 0], F.softplus(self.sides(features)) * STRIDE

    def centres(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Pixel coordinates (y, x) of the cells' centres, each (height, width)."""
        rows = (torch.arange(height) + 0.5) * STRIDE
        columns = (torch.arange(width) + 0.5) * STRIDE
        return torch.meshgrid(rows, columns, indexing="ij")


def load(path: Path) -> FactorClassifier | EmblemDetector:
    """Load a judge in evaluation mode; every key and shape is checked."""
    config = weights.read_config(path)
    kinds = {"classifier": FactorClassifier, "detector": EmblemDetector}
    return weights.load_into(path, kinds[config.pop("kind")](**config))
