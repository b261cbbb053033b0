"""Train a judge of the scenes world and measure it on held-out scenes."""

from typing import Literal, NotRequired

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from palimpsest.arrays import read_masks, read_pictures, read_table
from palimpsest.judges.augment import augment
from palimpsest.judges.networks import STRIDE, EmblemDetector, FactorClassifier
from palimpsest.judges.quality import HEADS, boxes_of, detector_quality, factor_accuracy, targets_of
from palimpsest.models import weights
from palimpsest.models.pixels import to_tensor
from palimpsest.models.training import Training, fit
from palimpsest.options import Count, Positive, check
from palimpsest.run import Input, Output, step


class Settings(Training):
    """Options of the training. width: channels of the first layer; depth: blocks of a detector."""

    kind: Literal["classifier", "detector"]
    width: Positive
    depth: NotRequired[Positive]


def train(
    train_images: Input,
    train_masks: Input,
    train_manifest: Input,
    test_images: Input,
    test_masks: Input,
    test_manifest: Input,
    network: Output,
    *,
    params: dict,
    seed: Count = 0,
) -> dict:
    """Train the network that params describe."""
    check(Settings, params, "params of the judge")
    images, shown = read_pictures(train_images), read_pictures(test_images)
    rows = read_table(train_manifest, ("emblem",), len(images))
    test, test_rows = to_tensor(shown), read_table(test_manifest, ("emblem",), len(shown))
    settings = {key: params[key] for key in ("batch", "steps", "learning_rate")}
    rng = np.random.default_rng(seed)
    if params["kind"] == "classifier":
        model = FactorClassifier(HEADS, params["width"])
        targets = targets_of(rows)

        def loss_of(picks: np.ndarray, index: int) -> Tensor:
            logits = model(augment(to_tensor(images[picks]), rng)[0])
            return sum(F.cross_entropy(logits[name].float(), targets[name][picks]) for name in HEADS)

        losses = fit(model, loss_of, count=len(images), seed=seed, **settings)
        quality = factor_accuracy(model, test, test_rows)
    else:
        model = EmblemDetector(params["width"], params["depth"])
        boxes = boxes_of(read_masks(train_masks, images.shape[:3]), rows["emblem"].to_numpy())

        def loss_of(picks: np.ndarray, index: int) -> Tensor:
            pictures, boxes_now = augment(to_tensor(images[picks]), rng, boxes[picks])
            return detection_loss(model, pictures, boxes_now)

        losses = fit(model, loss_of, count=len(images), seed=seed, **settings)
        quality = detector_quality(model, test, read_masks(test_masks, shown.shape[:3]), test_rows["emblem"].to_numpy())
    weights.save(network, model, model.config)
    return {"losses": losses, "quality": quality}


def detection_loss(model: EmblemDetector, images: Tensor, boxes: Tensor) -> Tensor:
    """Focal loss on the score map (positive cells: the inner half of a box), 1-IoU on the boxes of positive cells."""
    logits, sides = model(images)
    logits, sides = logits.float(), sides.float()
    y, x = model.centres(*logits.shape[1:])
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 4 + STRIDE / 2
    inside = (x - centre[:, 0, None, None]).abs() < half[:, 0, None, None]
    inside = inside & ((y - centre[:, 1, None, None]).abs() < half[:, 1, None, None])  # NaN compares false
    target = inside.float()
    chance = logits.sigmoid()
    missed = (chance - target).abs()
    loss = (missed.square() * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).sum()
    loss = loss / target.sum().clamp(min=1)
    if not inside.any():
        return loss
    picked, row, column = torch.where(inside)
    left, top, right, bottom = sides[picked, :, row, column].unbind(1)
    wanted = boxes[picked]
    px, py = x[row, column], y[row, column]
    shared = (torch.minimum(right, wanted[:, 2] - px) + torch.minimum(left, px - wanted[:, 0])).clamp(min=0)
    shared = shared * (torch.minimum(bottom, wanted[:, 3] - py) + torch.minimum(top, py - wanted[:, 1])).clamp(min=0)
    area = (left + right) * (top + bottom) + (wanted[:, 2:] - wanted[:, :2]).prod(1)
    return loss + (1 - shared / (area - shared).clamp(min=1e-6)).mean()


if __name__ == "__main__":
    step(train)
