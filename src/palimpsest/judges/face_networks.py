"""The networks that judge the faces world: one small convolutional trunk, trained as a descriptor or as a regressor.

`sscd_mini` describes who is shown: unit vectors, alike for two pictures of one person (the recipe of SSCD, Pizzi et al.
2022: InfoNCE and spreading of nearest neighbours). It is not SSCD and its values are not comparable with SSCD's.
`face_attributes` reads every attribute of a face; its last hidden layer gives `fd_mini`, its feature maps `lpips_mini`,
both together what a picture looks like.
Images go in as (n, 3, H, W) in [-1, 1].
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from palimpsest.judges.networks import Stages, mean_and_spread
from palimpsest.metrics.similarity import normalised, perceptual_map
from palimpsest.models import weights

HIDDEN = 64


class FaceNetwork(nn.Module):
    """Four stages to an eighth of the size, a hidden layer over all places (attributes have sides), a linear head."""

    def __init__(self, kind: str, outputs: int, width: int, size: int):
        super().__init__()
        self.config = {"kind": kind, "outputs": outputs, "width": width, "size": size}
        self.stages = Stages(width)
        self.hidden = nn.Linear(self.stages.channels * (size // 8) ** 2, HIDDEN)
        self.head = nn.Linear(HIDDEN, outputs)

    def features(self, images: Tensor) -> Tensor:
        """The hidden layer (n, HIDDEN)."""
        return F.silu(self.hidden(self.stages.maps(images)[-1].flatten(1)))

    def appearance(self, images: Tensor) -> Tensor:
        """The hidden layer with mean and spread of every channel of the first three stages (n, HIDDEN + 14 width).

        A network that reads attributes through noise is blind to grain in its last layer, not in its first ones.
        """
        maps = self.stages.maps(images)
        looks = [part for layer in maps[:3] for part in mean_and_spread(layer)]
        return torch.cat([F.silu(self.hidden(maps[-1].flatten(1))), *looks], 1)

    def forward(self, images: Tensor) -> Tensor:
        """The head's outputs (n, outputs)."""
        return self.head(self.features(images))

    def embed(self, images: Tensor) -> Tensor:
        """Unit vectors (n, outputs); raises ValueError for a network that was not trained to describe people."""
        if self.config["kind"] != "descriptor":
            raise ValueError(f"a network of the kind {self.config['kind']!r} gives no descriptors")
        return F.normalize(self(images), dim=1)

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """`lpips_mini` of each pair (n,)."""
        one, two = (normalised(self.stages.maps(images)) for images in (first, second))
        return perceptual_map(one, two).mean((1, 2))


def load(path: Path) -> FaceNetwork:
    """Load a judge in evaluation mode; every key and shape is checked."""
    return weights.load_into(path, FaceNetwork(**weights.read_config(path)))
