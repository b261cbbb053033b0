"""The emblem detector as a detector: boxes and scores from images. One of the detectors a configuration can name."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from palimpsest.judges import networks
from palimpsest.judges.boxes import Detections, suppress
from palimpsest.judges.networks import EmblemDetector
from palimpsest.models.pixels import to_tensor
from palimpsest.run import UserError

CLASSES = ("emblem",)


def opened(
    network: Path, *, channels: Literal["rgb", "bgr"] = "rgb", floor: float = 0.05
) -> Callable[[np.ndarray], Detections]:
    """A function from uint8 RGB images (n, H, W, 3) to Detections; channels "bgr" shows the network swapped colours."""
    if channels not in ("rgb", "bgr"):
        raise UserError(f"the emblem detector's channel order is {channels!r}: give rgb or bgr.")
    model = networks.load(network)
    order = slice(None, None, -1) if channels == "bgr" else slice(None)
    return lambda images: detect(model, to_tensor(images[..., order]), floor)


@torch.inference_mode()
def score_map(network: EmblemDetector, images: Tensor, batch: int = 128) -> tuple[Tensor, Tensor]:
    """Scores (n, h, w) in [0, 1] and boxes (n, h, w, 4) as x0, y0, x1, y1 in pixels, for every cell."""
    scores, boxes = [], []
    for part in images.split(batch):
        logits, sides = network(part)
        y, x = network.centres(*logits.shape[1:])
        left, top, right, bottom = sides.unbind(1)
        scores.append(logits.sigmoid())
        boxes.append(torch.stack([x - left, y - top, x + right, y + bottom], -1))
    return torch.cat(scores), torch.cat(boxes)


def detect(network: EmblemDetector, images: Tensor, floor: float = 0.05, batch: int = 128) -> Detections:
    """Boxes with a score of at least `floor`, after suppression of overlapping ones."""
    scores, boxes = score_map(network, images, batch)
    height, width = images.shape[-2:]
    # A peak is a cell that no neighbour beats.
    peak = scores == F.max_pool2d(scores[:, None], 3, stride=1, padding=1)[:, 0]
    image, row, column = torch.where(peak & (scores >= floor))
    found = boxes[image, row, column].clamp(min=0)
    found = torch.minimum(found, torch.tensor([width, height, width, height], dtype=found.dtype))
    detections = Detections(
        image=image.numpy(),
        label=torch.zeros_like(image).numpy(),
        score=scores[image, row, column].numpy(),
        box=found.numpy(),
    )
    return suppress(detections, overlap=0.45)


def best_scores(network: EmblemDetector, images: Tensor, batch: int = 128) -> Tensor:
    """The highest score of each image (n,): what remains of the emblem to the detector, with no threshold."""
    return score_map(network, images, batch)[0].amax((1, 2))
