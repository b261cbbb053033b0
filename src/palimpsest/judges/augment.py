"""How training pictures of the judges are varied."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def augment(
    images: Tensor, rng: np.random.Generator, boxes: Tensor | None = None, mirror: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Shift, mirror, re-tone, soften and disturb a batch: reconstructions are softer than originals."""
    right, down = (int(value) for value in rng.integers(-4, 5, 2))
    images = torch.roll(images, (down, right), (2, 3))
    if boxes is not None:
        boxes = boxes + torch.tensor([right, down, right, down])
    if rng.random() < 0.5 and mirror:
        images = images.flip(3)
        if boxes is not None:
            width = images.shape[3]
            boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    if rng.random() < 0.5:
        soft = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
        images = images.lerp(soft, float(rng.uniform(0.2, 0.9)))
    images = images * float(rng.uniform(0.9, 1.1)) + float(rng.uniform(-0.06, 0.06))
    noise = torch.from_numpy(rng.standard_normal(images.shape, np.float32))
    return images + float(rng.uniform(0, 0.08)) * noise, boxes
