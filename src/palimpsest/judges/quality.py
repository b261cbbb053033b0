"""How well a judge judges: its targets and its error rates on scenes whose factors are known.

And what the judges still read in what a network gives back of scenes.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.judges import emblem, networks
from palimpsest.judges.boxes import best_per_image, overlap_of
from palimpsest.judges.networks import EmblemDetector, FactorClassifier
from palimpsest.models.pixels import mean_psnr, to_tensor
from palimpsest.worlds.scenes import FACTORS

HEADS = {**{name: len(values) for name, values in FACTORS.items()}, "emblem": 2}


def targets_of(rows: pd.DataFrame) -> dict[str, Tensor]:
    """Class indices (n,) of each head."""
    targets = {name: pd.Categorical(rows[name], categories=values).codes for name, values in FACTORS.items()}
    targets["emblem"] = rows["emblem"].to_numpy()
    return {name: torch.from_numpy(np.asarray(values, np.int64)) for name, values in targets.items()}


def boxes_of(masks: np.ndarray, present: np.ndarray) -> Tensor:
    """The bounding box (n, 4) of each mask as x0, y0, x1, y1 in pixels; NaN where no emblem is present."""
    boxes = torch.full((len(masks), 4), torch.nan)
    for index in np.flatnonzero(present):
        rows, columns = np.flatnonzero(masks[index].any(1)), np.flatnonzero(masks[index].any(0))
        boxes[index] = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return boxes


@torch.inference_mode()
def factor_accuracy(model: FactorClassifier, images: Tensor, rows: pd.DataFrame, batch: int = 256) -> dict[str, float]:
    """Accuracy of every head."""
    parts = [model(part) for part in images.split(batch)]
    targets = targets_of(rows)
    return {
        name: float((torch.cat([part[name] for part in parts]).argmax(1) == targets[name]).float().mean())
        for name in HEADS
    }


def detector_quality(model: EmblemDetector, images: Tensor, masks: np.ndarray, present: np.ndarray) -> dict[str, float]:
    """Recall and false-positive rate per image at score 0.5, mean box IoU of the hits, and both at other thresholds."""
    found = emblem.detect(model, images)
    best = best_per_image(found, len(images))
    truth = boxes_of(masks, present).numpy()
    top = found.select(np.isclose(found.score, best[found.image]) & present[found.image] & (found.score >= 0.5))
    quality = {
        "recall": float((best[present] >= 0.5).mean()),
        "false_positive_rate": float((best[~present] >= 0.5).mean()),
        "box_iou": float(overlap_of(top.box, truth[top.image]).mean()) if len(top) else 0.0,
    }
    for threshold in (0.2, 0.3, 0.7):
        quality[f"recall_at_{threshold}"] = float((best[present] >= threshold).mean())
        quality[f"false_positive_rate_at_{threshold}"] = float((best[~present] >= threshold).mean())
    return quality


def given_back(pictures: np.ndarray, back: np.ndarray, rows: pd.DataFrame, judge: Path, detector: Path) -> dict:
    """PSNR (dB, mean over pictures, of 8 bits) of what comes back of scenes, and what judges read of both.

    pictures, back: (n, H, W, 3) uint8; rows: of the manifest. The rates of `read` are below `pictures` and
    `reconstructions`.
    """
    shown = {"pictures": pictures, "reconstructions": back}
    rates = {name: read(each, rows, judge, detector) for name, each in shown.items()}
    return {"psnr": mean_psnr(pictures, back), **rates}


def read(pictures: np.ndarray, rows: pd.DataFrame, judge: Path, detector: Path) -> dict[str, float]:
    """How often the classifier reads each factor rightly, and how often the detector finds an emblem that is there."""
    images, worn = to_tensor(pictures), rows["emblem"].to_numpy(bool)
    accuracy = factor_accuracy(networks.load(judge), images, rows)
    found = emblem.best_scores(networks.load(detector), images).numpy() >= 0.5
    rates = {name: accuracy[name] for name in FACTORS}
    return rates | ({"emblem_recall": float(found[worn].mean())} if worn.any() else {})
