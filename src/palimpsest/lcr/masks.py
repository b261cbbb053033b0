"""Find the latent cells that a detected concept touches, for scoring and replacing alike."""

from typing import TypedDict

import numpy as np

from palimpsest.arrays import read_pictures
from palimpsest.judges.boxes import CORNERS, read_boxes
from palimpsest.lcr.arrays import open_codes, same_network
from palimpsest.lcr.cells import Coverage, cells_of, expand
from palimpsest.options import Share, Size, check
from palimpsest.run import Input, Output, UserError, step


class Settings(TypedDict):
    """classes: labels that are the concept; expand: of a box on each side, as a share of it; coverage: `lcr.cells`."""

    classes: list[str]
    min_score: Share
    expand: Size
    coverage: Coverage


def masks(detections: Input, images: Input, codes: Input, masks: Output, *, params: dict) -> dict:
    """Write the cells (n, h, w) bool of the boxes that params choose: classes, min_score, expand, coverage."""
    check(Settings, params, "params of the masks")
    origin = same_network(codes)
    pictures = read_pictures(images)
    size, grid = pictures.shape[1:3], open_codes(codes, (len(pictures), None, None)).shape
    boxes = read_boxes(detections, len(pictures))
    unknown = set(params["classes"]) - set(boxes["label"]) if len(boxes) else set()
    if unknown and not set(params["classes"]) & set(boxes["label"]):
        raise UserError(
            f"{detections} holds none of the classes {', '.join(sorted(unknown))}; it holds "
            f"{', '.join(sorted(set(boxes['label'])))}. Correct `classes` of the preset in the configuration."
        )
    boxes = boxes[boxes["label"].isin(params["classes"]) & (boxes["score"] >= params["min_score"])]
    found = cells_of(
        boxes["image"].to_numpy(),
        expand(boxes[list(CORNERS)].to_numpy(np.float64), params["expand"], size, params["coverage"]),
        grid,
        size,
        params["coverage"],
    )
    np.save(masks, found)
    return {
        "boxes": len(boxes),
        "images_with_a_mask": int(found.any((1, 2)).sum()),
        "cells": int(found.sum()),
        **origin,
    }


if __name__ == "__main__":
    step(masks)
