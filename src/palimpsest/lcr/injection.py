"""Does the concept travel with its codes? The concept's codes put into safe images, decoded and encoded again.

c_mix = where(mask, c_forget, c_safe): cell by cell the forget image's codes inside its own mask, the safe image's
outside. The published figure (Cabibbo et al. 2025) is the ratio of the latent change inside the mask to that outside,
after decoding and re-encoding one image: it has no floor. Three parts are told apart here:

* `against=codes` compares with the safe image's own codes, as published; `against=cycle` with the re-encoded
  reconstruction E(D(c_safe)): what differs there the injection has changed, within NEAR cells of the mask or farther;
* `baseline=cycle` is the change that an unedited cycle makes, under the same masks;
* `baseline=draws` is the change between two Gumbel draws of one picture's codes.
"""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from palimpsest.judges import emblem
from palimpsest.judges import networks as judges
from palimpsest.lcr.arrays import load_codes, load_masks, same_network
from palimpsest.lcr.cells import dilate, to_pixels
from palimpsest.metrics import measurements as tidy
from palimpsest.metrics.intervals import bootstrap, mcnemar
from palimpsest.metrics.measurements import row, share_of
from palimpsest.metrics.similarity import error_map
from palimpsest.models import vqgan as vqgans
from palimpsest.models.pixels import to_uint8, to_unit
from palimpsest.models.vqgan import VQGAN
from palimpsest.options import Count, Positive, Share, check
from palimpsest.run import Input, Output, UserError, step, torch_device

GREY_LEVELS = 127.5  # per unit of a picture in [-1, 1]
NEAR = 2  # cells around the region within which a changed code may owe it to a few convolutions


@dataclass(frozen=True)
class Cycle:
    """Pictures (n, 3, H, W) of code grids, and the grids (n, h, w) that encoding the pictures gives."""

    codes: Tensor
    pictures: Tensor
    again: Tensor


class Settings(TypedDict):
    """images: most that are injected; batch: pictures at once; panel: pictures kept."""

    images: Positive
    batch: Positive
    panel: Positive


def injection(
    network: Input,
    forget_codes: Input,
    forget_masks: Input,
    safe_test_codes: Input,
    detector: Input,
    measurements: Output,
    panel: Output,
    *,
    model: str,
    preset: str,
    threshold: Share,
    params: dict,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """Inject the codes of forget image i into safe image i, for the first params[`images`] forget images with a mask.

    threshold: the detector's score from which an image counts as detected. params: `images`, `batch`, `panel`
    (pictures kept). The panel's .npz holds `donor`, `reconstruction` and `injected` (k, H, W, 3) uint8, `pixel_change`
    (k, H, W) in grey levels, `latent_change` (k, h, w) and `mask` (k, h, w).
    """
    check(Settings, params, "params of the injection")
    vqgan = vqgans.load(network).to(torch_device(device))
    origin = same_network(forget_codes, safe_test_codes, forget_masks, network=network)
    forget = load_codes(forget_codes, vqgan.config.codes)
    safe = load_codes(safe_test_codes, vqgan.config.codes, (None, *forget.shape[1:]))
    cells = load_masks(forget_masks, forget.shape, filled=True)
    pairs = np.arange(min(len(forget), len(safe)))
    pairs = pairs[np.asarray(cells[pairs]).any((1, 2))][: params["images"]]
    if len(pairs) == 0:
        raise UserError(
            f"{forget_masks} marks no cell in the first {len(safe)} images, as many as there are safe ones."
        )
    mask = torch.from_numpy(np.asarray(cells[pairs]))
    donor, host = (torch.from_numpy(np.asarray(codes[pairs]).astype(np.int64)) for codes in (forget, safe))
    batch = params["batch"]
    plain = cycle(vqgan, host, batch)
    mixed = cycle(vqgan, torch.where(mask, donor, host), batch)
    book = vqgan.codebook.cpu()
    rows = latent_rows(book, plain, mixed, mask, seed)
    if vqgan.config.quantiser == "gumbel":
        generator = torch.Generator(vqgan.device).manual_seed(seed)
        first, second = (encode(vqgan, plain.pictures, batch, generator) for _ in range(2))
        rows.append(ratio_row("injection_ratio", latent_change(book, first, second), mask, seed, baseline="draws"))
    rows += pixel_rows(plain.pictures, mixed.pictures, mask, seed)
    donors = decode(vqgan, donor, batch)
    pictures = {"reconstruction": plain.pictures, "injected": mixed.pictures, "forget_reconstruction": donors}
    rows += detection_rows(judges.load(detector), pictures, threshold)
    save_panel(panel, donors, plain, mixed, book, mask, params["panel"])
    labels = {"model": model, "preset": preset, "set": safe_test_codes.stem, "method": "injection", "seed": seed}
    tidy.write(measurements, rows, family="lcr", **labels)
    return {"pairs": len(pairs), "cells_injected": float(mask.float().mean()), **origin}


@torch.inference_mode()
def encode(vqgan: VQGAN, pictures: Tensor, batch: int, generator: torch.Generator | None = None) -> Tensor:
    """Code grids on the CPU: the argmax, or draws from the generator."""
    return torch.cat([vqgan.encode(part, generator).cpu() for part in pictures.split(batch)])


@torch.inference_mode()
def decode(vqgan: VQGAN, codes: Tensor, batch: int) -> Tensor:
    """Pictures (n, 3, H, W) on the CPU, clipped to [-1, 1]."""
    return torch.cat([vqgan.decode_codes(part).clamp(-1, 1).cpu() for part in codes.split(batch)])


def cycle(vqgan: VQGAN, codes: Tensor, batch: int) -> Cycle:
    """Decode and encode again."""
    pictures = decode(vqgan, codes, batch)
    return Cycle(codes, pictures, encode(vqgan, pictures, batch))


def latent_change(codebook: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """L2 distance (n, h, w) of the codebook vectors of two code grids."""
    return (codebook[first] - codebook[second]).norm(dim=-1)


def latent_rows(codebook: Tensor, plain: Cycle, mixed: Cycle, mask: Tensor, seed: int) -> list[dict]:
    """Agreement of codes over a cycle, latent changes inside and outside the mask, and their ratios."""
    everywhere = {"inside": mask, "outside": ~mask, "all": torch.ones_like(mask)}
    rows = []
    for edit, cycled in (("none", plain), ("injected", mixed)):
        for where, region in everywhere.items():
            same = (cycled.again == cycled.codes).double()
            rows.append(mean_row("cycle_agreement", same, region, seed, edit=edit, where=where))
    changes = {
        ("against", "codes"): latent_change(codebook, mixed.again, plain.codes),
        ("against", "cycle"): latent_change(codebook, mixed.again, plain.again),
        ("baseline", "cycle"): latent_change(codebook, plain.again, plain.codes),
    }
    for (name, value), change in changes.items():
        rows.append(ratio_row("injection_ratio", change, mask, seed, **{name: value}))
        for where in ("inside", "outside"):
            rows.append(mean_row("latent_change", change, everywhere[where], seed, where=where, **{name: value}))
    leaked = (mixed.again != plain.again).double()
    rows.append(mean_row("codes_changed_outside", leaked, ~mask, seed, against="cycle"))
    around = torch.from_numpy(dilate(mask.numpy(), NEAR))
    for name, region in (("near", around & ~mask), ("far", ~around)):
        rows.append(mean_row(f"codes_changed_{name}", leaked, region, seed, against="cycle"))
    return rows


def pixel_rows(before: Tensor, after: Tensor, mask: Tensor, seed: int) -> list[dict]:
    """Mean absolute change in grey levels inside and outside the mask, and the PSNR outside it."""
    region = pixels_of(mask, before)
    change = pixel_change(before, after)
    error = error_map(to_unit(before), to_unit(after))
    outside = (error * ~region).sum((1, 2)) / (~region).sum((1, 2)).clamp(min=1)
    # The floor is one grey level in a thousand pixels: an untouched outside stays finite.
    psnr = (-10 * outside.clamp(min=1e-3 / 255**2).log10()).numpy()
    return [
        mean_row("pixel_change", change, region, seed, where="inside"),
        mean_row("pixel_change", change, ~region, seed, where="outside"),
        row("leak_outside_psnr", psnr.mean(), *bootstrap(psnr, seed=seed), n=len(psnr)),
    ]


def pixels_of(mask: Tensor, pictures: Tensor) -> Tensor:
    """Pixels (n, H, W) of the mask's cells."""
    return torch.from_numpy(to_pixels(mask.numpy(), tuple(pictures.shape[-2:])))


def pixel_change(before: Tensor, after: Tensor) -> Tensor:
    """Mean absolute change over the channels, in grey levels of 255, (n, H, W)."""
    return (after - before).abs().mean(1) * GREY_LEVELS


def region_sums(values: Tensor, region: Tensor) -> np.ndarray:
    """Sum over a region and its size, of every image: (n, 2)."""
    return torch.stack([(values * region).sum((1, 2)), region.sum((1, 2))], 1).double().numpy()


def mean_row(metric: str, values: Tensor, region: Tensor, seed: int, **labels) -> dict:
    """Mean of values (n, h, w) over all cells of a region; the interval resamples images."""
    sums = region_sums(values, region)
    return row(metric, pooled_mean(sums), *bootstrap(sums, pooled_mean, seed=seed), n=len(sums), **labels)


def ratio_row(metric: str, values: Tensor, mask: Tensor, seed: int, **labels) -> dict:
    """Mean of values inside the mask over their mean outside; NaN where nothing changed outside."""
    sums = np.concatenate([region_sums(values, mask), region_sums(values, ~mask)], 1)
    low, high = bootstrap(sums, pooled_ratio, seed=seed)
    return row(metric, pooled_ratio(sums), low, high, n=len(sums), **labels)


def pooled_mean(sums: np.ndarray) -> float:
    """From sums and sizes (n, 2) the mean over all."""
    total, size = sums.sum(0)
    return total / size if size else np.nan


def pooled_ratio(sums: np.ndarray) -> float:
    """From sums and sizes inside and outside (n, 4) the ratio of the two means."""
    outside = pooled_mean(sums[:, 2:])
    return pooled_mean(sums[:, :2]) / outside if outside else np.nan


def detection_rows(network, pictures: dict[str, Tensor], threshold: float) -> list[dict]:
    """Share of pictures in which the detector finds the concept, and whether injecting changed it (McNemar)."""
    found = {name: (emblem.best_scores(network, part) >= threshold).numpy() for name, part in pictures.items()}
    rows = [share_of("injected_detection_rate", hits, image=name) for name, hits in found.items()]
    before, after = found["reconstruction"], found["injected"]
    chance = mcnemar((before & ~after).sum(), (after & ~before).sum())
    return [*rows, row("injected_detection_p", chance, n=len(before))]


def save_panel(path, donors: Tensor, plain: Cycle, mixed: Cycle, codebook: Tensor, mask: Tensor, count: int) -> None:
    """Write the first `count` pairs for the figure."""
    first = slice(count)
    panel = {
        "donor": to_uint8(donors[first]),
        "reconstruction": to_uint8(plain.pictures[first]),
        "injected": to_uint8(mixed.pictures[first]),
        "pixel_change": pixel_change(plain.pictures[first], mixed.pictures[first]).numpy(),
        "latent_change": latent_change(codebook, mixed.again[first], plain.again[first]).numpy(),
        "mask": mask[first].numpy(),
    }
    with path.open("wb") as file:  # given a path, numpy would add a suffix to its temporary name
        np.savez_compressed(file, **panel)


if __name__ == "__main__":
    step(injection)
