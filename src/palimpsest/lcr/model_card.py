"""What a VQ-GAN keeps of a world's pictures: error, codes in use, and what the judges still read in reconstructions."""

import numpy as np
import torch

from palimpsest.arrays import read_pictures, read_table
from palimpsest.judges import emblem
from palimpsest.judges import networks as judges
from palimpsest.judges.quality import factor_accuracy
from palimpsest.lcr.context import nearest_safe
from palimpsest.metrics import similarity
from palimpsest.metrics.intervals import bootstrap, wilson
from palimpsest.metrics.measurements import row, share_of, write
from palimpsest.models import vqgan as vqgans
from palimpsest.models.pixels import to_tensor, to_unit
from palimpsest.models.vqgan import decode
from palimpsest.options import Count
from palimpsest.run import Input, Output, step, torch_device

CONFIDENT = 0.5


def model_card(
    network: Input,
    images: Input,
    manifest: Input,
    judge: Input,
    classifier: Input,
    measurements: Output,
    *,
    model: str,
    set: str,
    seed: Count = 0,
    device: str = "auto",
) -> None:
    """Write PSNR, SSIM, live codes, perplexity, codebook geometry, and the judges' readings of both pictures."""
    vqgan = vqgans.load(network).to(torch_device(device))
    originals = read_pictures(images)
    scenes = read_table(manifest, ("emblem",), len(originals))
    pictures = to_tensor(originals)
    with torch.inference_mode():
        codes = torch.cat([vqgan.encode(part) for part in pictures.split(64)]).cpu().numpy()
    reconstructions = decode(vqgan, codes)
    decoded = to_tensor(reconstructions)
    errors = similarity.error_map(to_unit(decoded), to_unit(pictures)).mean((1, 2)).numpy()
    decibel = -10 * np.log10(errors)
    structure = similarity.ssim(reconstructions, originals)
    rows = [
        row("psnr", decibel.mean(), *bootstrap(decibel), n=len(decibel)),
        row("ssim", structure.mean(), *bootstrap(structure), n=len(structure)),
        *code_use(codes, vqgan.config.codes),
        *codebook_geometry(vqgan.codebook.detach().cpu().numpy(), seed),
    ]
    reader, detector = judges.load(classifier), judges.load(judge)
    present = scenes["emblem"].to_numpy()
    for name, shown in (("original", pictures), ("reconstruction", decoded)):
        for factor, value in factor_accuracy(reader, shown, scenes).items():
            interval = wilson(round(value * len(shown)), len(shown))
            rows.append(row(f"{factor}_accuracy", value, *interval, n=len(shown), on=name))
        found = (emblem.best_scores(detector, shown) >= CONFIDENT).numpy()
        for metric, hits in (("emblem_recall", found[present]), ("emblem_false_positive_rate", found[~present])):
            rows.append(share_of(metric, hits, on=name))
    write(measurements, rows, family="lcr", model=model, set=set, concept="emblem")


def code_use(codes: np.ndarray, codebook_size: int) -> list[dict]:
    """How many codes occur at all, and the perplexity of their distribution."""
    share = np.bincount(codes.ravel(), minlength=codebook_size) / codes.size
    entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
    return [
        row("codebook_size", codebook_size),
        row("live_codes", (share > 0).sum(), n=codebook_size),
        row("live_share", (share > 0).mean(), n=codebook_size),
        row("perplexity", np.exp(entropy), n=codebook_size),
    ]


def codebook_geometry(codebook: np.ndarray, seed: int) -> list[dict]:
    """Mean distance of a code to its nearest other, against independent normal rows of the same mean and variance.

    The null says what "nearest" means in a codebook without structure.
    """

    def nearest(rows: np.ndarray) -> np.ndarray:
        rows, every = rows.astype(np.float64), np.arange(len(rows))
        return np.linalg.norm(rows - rows[nearest_safe(every, every, lambda some: rows[some])], axis=1)

    rng = np.random.default_rng(seed)
    null = rng.normal(codebook.mean(), codebook.std(), codebook.shape)
    found, expected = nearest(codebook), nearest(null)
    return [
        row("codebook_nn_distance", found.mean(), *bootstrap(found), n=len(found)),
        row("codebook_nn_distance_null", expected.mean(), *bootstrap(expected), n=len(expected)),
    ]


if __name__ == "__main__":
    step(model_card)
