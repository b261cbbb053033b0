"""Decode the plain codes: the reconstruction that every edit is compared with, and the yardsticks around it."""

import numpy as np
import pandas as pd

from palimpsest.lcr.codes import load_codes
from palimpsest.lcr.evaluation import Evaluation, Judges
from palimpsest.metrics.intervals import wilson
from palimpsest.metrics.measurements import row, write
from palimpsest.models import vqgan as vqgans
from palimpsest.models.vqgan import decode
from palimpsest.run import Input, Output, step, torch_device


def reconstruct(
    network: Input,
    codes: Input,
    masks: Input,
    images: Input,
    manifest: Input,
    reconstruction: Output,
    measurements: Output,
    *,
    twins: Input | None = None,
    judge: Input | None = None,
    classifier: Input | None = None,
    model: str,
    preset: str,
    set: str,
    concept: str,
    detector: dict,
    params: dict,
    device: str = "auto",
) -> dict:
    """Write the reconstructions (n, H, W, 3) uint8, and measure originals, twins and reconstructions alike."""
    vqgan = vqgans.load(network).to(torch_device(device))
    grid, cells = load_codes(codes, vqgan.config.codes), np.load(masks)
    decoded = decode(vqgan, grid)
    np.save(reconstruction, decoded)
    pictures = {"reconstruction": decoded, "original": np.load(images)}
    if twins:
        pictures["twin_original"] = np.load(twins)
    evaluation = Evaluation(
        Judges.load(detector, judge, classifier),
        params["classes"],
        decoded,
        cells,
        pd.read_parquet(manifest),
        pictures.get("twin_original"),
    )
    masked = cells.any((1, 2))
    rows = [
        row("mask_share", cells.mean(), n=len(cells), method="reconstruction"),
        row(
            "images_with_mask", masked.mean(), *wilson(masked.sum(), len(masked)), len(masked), method="reconstruction"
        ),
    ]
    for method, shown in pictures.items():
        rows += evaluation.summary(evaluation.per_image(shown, None), params["shows_concept"], method=method)
    write(measurements, rows, family="lcr", model=model, set=set, concept=concept, preset=preset)
    return {"images": len(decoded)}


if __name__ == "__main__":
    step(reconstruct)
