"""Find the latent cells that a detected concept touches, for scoring and replacing alike."""

import numpy as np
import pandas as pd

from palimpsest.lcr.cells import cells_of, expand
from palimpsest.run import Input, Output, UserError, step


def masks(detections: Input, images: Input, codes: Input, masks: Output, *, params: dict) -> dict:
    """Write the cells (n, h, w) bool of the boxes that params choose: classes, min_score, expand, coverage."""
    boxes = pd.read_parquet(detections)
    unknown = set(params["classes"]) - set(boxes["label"]) if len(boxes) else set()
    if unknown and not set(params["classes"]) & set(boxes["label"]):
        raise UserError(
            f"{detections} holds none of the classes {', '.join(sorted(unknown))}; it holds "
            f"{', '.join(sorted(set(boxes['label'])))}. Correct `classes` of the preset in the configuration."
        )
    boxes = boxes[boxes["label"].isin(params["classes"]) & (boxes["score"] >= params["min_score"])]
    size, grid = np.load(images, mmap_mode="r").shape[1:3], np.load(codes, mmap_mode="r").shape
    found = cells_of(
        boxes["image"].to_numpy(),
        expand(boxes[["x0", "y0", "x1", "y1"]].to_numpy(np.float64), params["expand"], size, params["coverage"]),
        grid,
        size,
        params["coverage"],
    )
    np.save(masks, found)
    return {"boxes": len(boxes), "images_with_a_mask": int(found.any((1, 2)).sum()), "cells": int(found.sum())}


if __name__ == "__main__":
    step(masks)
