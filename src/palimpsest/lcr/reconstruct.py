"""Decode the plain codes: the reconstruction that every edit is compared with, and the yardsticks around it."""

import numpy as np

from palimpsest.arrays import read_pictures, read_table
from palimpsest.lcr.arrays import load_codes, load_masks, same_network
from palimpsest.lcr.evaluation import Evaluated, Evaluation, Judges
from palimpsest.metrics.measurements import row, share_of, write
from palimpsest.models import vqgan as vqgans
from palimpsest.models.vqgan import decode
from palimpsest.options import check
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
    params: dict,
    device: str = "auto",
) -> dict:
    """Write the reconstructions (n, H, W, 3) uint8, and measure originals, twins and reconstructions alike.

    params: `Evaluated` of palimpsest.lcr.evaluation; judge: the weights of its detector.
    """
    check(Evaluated, params, "params of the evaluation")
    vqgan = vqgans.load(network).to(torch_device(device))
    origin = same_network(codes, masks, network=network)
    grid = load_codes(codes, vqgan.config.codes)
    size = tuple(side * vqgan.config.downsampling for side in grid.shape[1:])
    cells, rows_of_set = np.array(load_masks(masks, grid.shape)), read_table(manifest, count=len(grid))
    pictures = {"original": read_pictures(images, len(grid), size)}
    if twins:
        pictures["twin_original"] = read_pictures(twins, len(grid), size)
    decoded = decode(vqgan, grid)
    np.save(reconstruction, decoded)
    pictures = {"reconstruction": decoded, **pictures}
    evaluation = Evaluation(
        Judges.load(params["detector"], judge, classifier),
        params["classes"],
        decoded,
        cells,
        rows_of_set,
        pictures.get("twin_original"),
    )
    masked = cells.any((1, 2))
    rows = [
        row("mask_share", cells.mean(), n=len(cells), method="reconstruction"),
        share_of("images_with_mask", masked, method="reconstruction"),
    ]
    for method, shown in pictures.items():
        rows += evaluation.summary(evaluation.per_image(shown, None), params["shows_concept"], method=method)
    write(measurements, rows, family="lcr", model=model, set=set, concept=params["concept"], preset=preset)
    return {"images": len(decoded), **origin}


if __name__ == "__main__":
    step(reconstruct)
