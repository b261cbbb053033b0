"""Boxes of a detector: one flat table over many images, with suppression and matching, vectorised."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from palimpsest.arrays import read_table
from palimpsest.run import UserError

CORNERS = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class Detections:
    """m boxes over a batch: image and class indices (m,), scores (m,), boxes (m, 4) as x0, y0, x1, y1 in pixels."""

    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    box: np.ndarray

    def __len__(self) -> int:
        return len(self.image)

    def select(self, index) -> "Detections":
        """The boxes at an index or boolean mask."""
        return Detections(self.image[index], self.label[index], self.score[index], self.box[index])


def read_boxes(path: Path, images: int) -> pd.DataFrame:
    """The boxes that `palimpsest.judges.detect` wrote for a set of `images` pictures: image, label, score, corners.

    Raises UserError, which names the first wrong row, for an image outside the set, a score outside [0, 1], and corners
    that are not numbers or whose second lies before the first.
    """
    table = read_table(path, ("image", "label", "score", *CORNERS))
    image, score = (table[name].to_numpy(float) for name in ("image", "score"))
    x0, y0, x1, y1 = table[list(CORNERS)].to_numpy(float).T
    # Written so that NaN fails.
    for what, sound, wanted in (
        ("image", (image >= 0) & (image < images) & (image == np.floor(image)), f"an image of 0 to {images - 1}"),
        ("score", (score >= 0) & (score <= 1), "a score in [0, 1]"),
        (", ".join(CORNERS), np.isfinite([x0, y0, x1, y1]).all(0) & (x1 >= x0) & (y1 >= y0), "a box in pixels"),
    ):
        if not sound.all():
            row = int(np.argmin(sound))
            found = ", ".join(f"{value:g}" for value in table.loc[table.index[row], what.split(", ")])
            raise UserError(
                f"{path}: {what} of row {row} is {found}, expected {wanted}. Run palimpsest.judges.detect again on the "
                "pictures of this set."
            )
    return table


def overlap_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (..., 4), broadcast."""
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    shared = np.prod(np.clip(high - low, 0, None), -1)
    area = np.prod(first[..., 2:] - first[..., :2], -1) + np.prod(second[..., 2:] - second[..., :2], -1)
    return shared / np.maximum(area - shared, 1e-9)


def suppress(detections: Detections, overlap: float) -> Detections:
    """Greedy non-maximum suppression within each image, whatever the class; sorted by image, then falling score."""
    order = np.lexsort((-detections.score, detections.image))
    sorted_ = detections.select(order)
    kept = np.ones(len(sorted_), bool)
    starts = np.flatnonzero(np.r_[True, np.diff(sorted_.image) != 0]) if len(sorted_) else []
    for start, end in zip(starts, np.r_[starts[1:], len(sorted_)] if len(sorted_) else [], strict=True):
        boxes = sorted_.box[start:end]
        matrix = overlap_of(boxes[:, None], boxes[None])
        for index in range(end - start):
            if kept[start + index]:
                kept[start + index + 1 : end] &= matrix[index, index + 1 :] <= overlap
    return sorted_.select(kept)


def best_per_image(detections: Detections, images: int) -> np.ndarray:
    """The highest score of each of `images` images; 0 where nothing was found."""
    best = np.zeros(images)
    np.maximum.at(best, detections.image, detections.score)
    return best
