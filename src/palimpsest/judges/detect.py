"""Run a detector over the images of a set, once, and keep every box; classes and thresholds are filters downstream."""

import numpy as np
import pandas as pd

from palimpsest.arrays import read_pictures
from palimpsest.judges.boxes import CORNERS, Detections
from palimpsest.options import check, module_of
from palimpsest.run import Input, Output, step


def detect(
    images: Input, detections: Output, *, detector: str, network: Input | None = None, params: dict | None = None
) -> dict:
    """Write one row per box: image, label, score, x0, y0, x1, y1 (pixels).

    detector: a module of palimpsest.judges with `CLASSES` and `opened(network, **params)`, which returns a function
    from uint8 RGB images to Detections.
    """
    module = module_of("palimpsest.judges", detector, "opened")
    check(module.opened, params or {}, f"params of the detector {detector}")
    pictures = read_pictures(images)
    found = module.opened(network, **(params or {}))(pictures)
    to_frame(found, module.CLASSES).to_parquet(detections, index=False)
    return {"images": len(pictures), "boxes": len(found)}


def to_frame(found: Detections, classes: tuple[str, ...]) -> pd.DataFrame:
    """A table of boxes, with class names."""
    frame = pd.DataFrame({"image": found.image, "label": np.asarray(classes)[found.label], "score": found.score})
    return frame.assign(**dict(zip(CORNERS, found.box.T, strict=True)))


if __name__ == "__main__":
    step(detect)
