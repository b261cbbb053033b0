"""How far does a replaced code reach? Pixel change against the distance from an edited block of cells.

A block of k x k cells takes the codes that another image has at the same place. The published finding is that the
decoder enforces only local consistency (Cabibbo et al. 2025, from one image); here the change is followed over
distance, and through four decoders, each compared with its own decoding of the unedited codes:

* `real`;
* `no_attention`: the attention blocks' output zeroed (they pass their input on);
* `frozen_norm`: every group normalisation uses the mean and variance that it had for the unedited image;
* `local`: both, so that only convolutions are left and nothing leaves their receptive field.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypedDict

import numpy as np
import pandas as pd
import torch
from taming.modules.diffusionmodules.model import AttnBlock
from torch import Tensor, nn

from palimpsest.lcr.arrays import load_codes, same_network
from palimpsest.metrics import measurements as tidy
from palimpsest.metrics.intervals import bootstrap, percentiles
from palimpsest.metrics.measurements import row
from palimpsest.models import vqgan as vqgans
from palimpsest.models.vqgan import VQGAN
from palimpsest.options import Count, Positive, check
from palimpsest.run import Input, Output, UserError, step, torch_device

GREY_LEVELS = 127.5  # per unit of a picture in [-1, 1]


class Settings(TypedDict):
    """images; sites: edits of each; blocks: their sides in cells; batch: pictures at once."""

    images: Positive
    sites: Positive
    blocks: list[Positive]
    batch: Positive


def locality(
    network: Input,
    codes: Input,
    curves: Output,
    measurements: Output,
    *,
    model: str,
    preset: str,
    params: dict,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """Follow the change; params: `images`, `sites` (edits per image), `blocks` (their sides in cells), `batch`.

    curves: decoder, block, r_pixels (chessboard distance of a pixel from the block, 0 inside), change (mean absolute
    change in grey levels of 255), low, high.
    """
    check(Settings, params, "params of the locality")
    vqgan = vqgans.load(network).to(torch_device(device))
    origin = same_network(codes, network=network)
    grids = np.asarray(load_codes(codes, vqgan.config.codes)[: params["images"]]).astype(np.int64)
    if len(grids) < 2:
        raise UserError(f"{codes} has {len(grids)} grids: a block needs a second image to take its codes from.")
    rng = np.random.default_rng(seed)
    labels = {"model": model, "preset": preset, "set": codes.stem, "method": "locality", "seed": seed}
    rows = floors(vqgan, grids[: params["batch"]])
    tables, sums = [], defaultdict(list)
    edits = {block: edit_blocks(grids, block, params["sites"], rng) for block in params["blocks"]}
    for decoder, block, chosen, change in decoded_changes(vqgan, grids, edits, params["batch"]):
        distance = distances(edits[block][1][chosen], block, vqgan.config.downsampling, change.shape[-2:])
        parts = (change.mean(2), np.square(change).mean(2), None)
        sums[decoder, block].append(np.stack([by_distance(part, distance) for part in parts]))
    for (decoder, block), parts in sums.items():
        absolute, squared, pixels = np.concatenate(parts, axis=1)
        tables.append(curve_table(absolute, pixels, seed).assign(decoder=decoder, block=block))
        found = [*energy_rows(vqgan, squared, seed), reach_row(vqgan, pixels)]
        rows += [measured | {"decoder": decoder, "block": block} for measured in found]
    pd.concat(tables, ignore_index=True).to_parquet(curves, index=False)
    tidy.write(measurements, rows, family="lcr", **labels)
    return {"images": len(grids), "receptive_field_pixels": receptive_field(vqgan), **origin}


def edit_blocks(grids: np.ndarray, block: int, sites: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`sites` edits of each grid (n, h, w): edited grids (n, sites, h, w) and their corners (n, sites, 2) in cells.

    The next image gives the codes. Only places where it differs are drawn.
    """
    donors = np.roll(grids, -1, axis=0)
    differs = np.lib.stride_tricks.sliding_window_view(grids != donors, (block, block), axis=(1, 2)).any((3, 4))
    edited = np.repeat(grids[:, None], sites, axis=1)
    corners = np.empty((len(grids), sites, 2), int)
    for image, places in enumerate(differs):
        possible = np.argwhere(places)
        if len(possible) == 0:
            raise UserError(f"images {image} and {(image + 1) % len(grids)} have the same codes: remove the duplicate.")
        corners[image] = possible[rng.choice(len(possible), sites, replace=len(possible) < sites)]
        for site, (top, left) in enumerate(corners[image]):
            inside = np.s_[top : top + block, left : left + block]
            edited[image, site][inside] = donors[image][inside]
    return edited, corners


def curve_table(absolute: np.ndarray, pixels: np.ndarray, seed: int) -> pd.DataFrame:
    """Mean change at each distance that occurs, with its bootstrap interval over images.

    absolute and pixels (n, R): sums of the change, and numbers of pixels, of each image at each distance.
    """
    reached = np.flatnonzero(pixels.sum(0))
    absolute, pixels = absolute[:, reached], pixels[:, reached]
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(pixels), np.full(len(pixels), 1 / len(pixels)), 1000).astype(float)
    with np.errstate(invalid="ignore"):  # a draw may hold no image that reaches the largest distances
        low, high = np.nanquantile((times @ absolute) / (times @ pixels), percentiles(len(pixels)), axis=0)
    change = absolute.sum(0) / pixels.sum(0)
    return pd.DataFrame({"r_pixels": reached, "change": change, "low": low, "high": high})


def energy_rows(vqgan: VQGAN, squared: np.ndarray, seed: int) -> list[dict]:
    """Half-energy radius and shares of squared change near the block, from sums (n, R) by image and distance."""
    cell, field = vqgan.config.downsampling, receptive_field(vqgan)
    totals = squared.sum(1)
    shares = squared.cumsum(1)[totals > 0] / totals[totals > 0, None]
    n, last = len(shares), squared.shape[1] - 1

    def measured(metric: str, values: np.ndarray, **labels) -> dict:
        return row(metric, values.mean() if n else np.nan, *bootstrap(values, seed=seed), n=n, **labels)

    radius = np.array([half_energy_radius(share) for share in shares])
    beyond = 1 - shares[:, min(field, last)]
    return [
        measured("half_energy_radius", radius, unit="pixels"),
        measured("half_energy_radius", radius / cell, unit="cells"),
        measured("energy_within_block", shares[:, 0]),
        measured("energy_within_one_cell", shares[:, min(cell, last)]),
        measured("energy_beyond_receptive_field", beyond, receptive_field_pixels=field),
    ]


def reach_row(vqgan: VQGAN, pixels: np.ndarray) -> dict:
    """The share of pixels beyond the receptive field, from numbers (n, R) by image and distance.

    It is what `energy_beyond_receptive_field` would read if the change were spread evenly over the picture.
    """
    field = receptive_field(vqgan)
    beyond = pixels[:, field + 1 :].sum() / pixels.sum()
    return row("pixels_beyond_receptive_field", beyond, n=len(pixels), receptive_field_pixels=field)


def half_energy_radius(shares: np.ndarray) -> float:
    """The distance within which half of the energy lies, from its cumulative shares at 0, 1, ...; linear between."""
    at = int(np.argmax(shares >= 0.5))
    if at == 0:
        return 0.0
    return at - 1 + float((0.5 - shares[at - 1]) / (shares[at] - shares[at - 1]))


def distances(corners: np.ndarray, block: int, cell: int, size: tuple[int, int]) -> np.ndarray:
    """Chessboard distance (..., H, W) in pixels of every pixel from blocks with corners (..., 2) in cells."""
    sides = []
    for axis, length in enumerate(size):
        first = corners[..., axis, None] * cell
        place = np.arange(length)
        sides.append(np.maximum(np.maximum(first - place, place - (first + block * cell - 1)), 0))
    return np.maximum(sides[0][..., :, None], sides[1][..., None, :])


def by_distance(values: np.ndarray | None, distance: np.ndarray) -> np.ndarray:
    """Sums of values (n, sites, H, W) by image and distance, shape (n, R); without values the number of pixels."""
    longest = max(distance.shape[-2:])
    index = np.arange(len(distance))[:, None, None, None] * longest + distance
    weights = None if values is None else values.ravel()
    sums = np.bincount(index.ravel(), weights, minlength=len(distance) * longest)
    return sums.reshape(len(distance), longest).astype(float)


Edits = dict[int, tuple[np.ndarray, np.ndarray]]  # by block: edited grids and corners, as `edit_blocks` gives them


@torch.inference_mode()
def decoded_changes(
    vqgan: VQGAN, grids: np.ndarray, edits: Edits, batch: int
) -> Iterator[tuple[str, int, slice, np.ndarray]]:
    """Decoder, block, images and the absolute change (images, sites, 3, H, W) in grey levels that their edits make.

    Every decoder is compared with its own decoding of the unedited grids, which is made once for all blocks: frozen
    statistics are those of the unedited grids, so freezing them changes nothing there.
    """
    sites = next(iter(edits.values()))[0].shape[1]
    size = max(1, batch // sites)
    for attention, free, frozen in ((True, "real", "frozen_norm"), (False, "no_attention", "local")):
        for start in range(0, len(grids), size):
            chosen = slice(start, start + size)
            with ExitStack() as stack:
                if not attention:
                    stack.enter_context(without_attention(vqgan.decoder))
                with recorded_norms(vqgan.decoder) as statistics:
                    before = vqgan.decode_codes(torch.from_numpy(grids[chosen]))
                for block, (edited, _) in edits.items():
                    codes = torch.from_numpy(edited[chosen]).flatten(0, 1)
                    after = {free: vqgan.decode_codes(codes)}
                    with frozen_norms(vqgan.decoder, statistics, sites):
                        after[frozen] = vqgan.decode_codes(codes)
                    for decoder, pictures in after.items():
                        change = (pictures.unflatten(0, (-1, sites)) - before[:, None]).abs().mul(GREY_LEVELS)
                        yield decoder, block, chosen, change.cpu().numpy()


@contextmanager
def without_attention(decoder: nn.Module) -> Iterator[None]:
    """Attention blocks pass their input on: the output that they add is zero."""
    with _hooks(decoder, AttnBlock, lambda module, inputs, output: inputs[0]):
        yield


@contextmanager
def recorded_norms(decoder: nn.Module) -> Iterator[dict[nn.Module, tuple[Tensor, Tensor]]]:
    """Collect, by module, mean and variance (n, groups, 1) that each group normalisation sees."""
    statistics = {}

    def record(module: nn.GroupNorm, inputs: tuple[Tensor], output: Tensor) -> None:
        groups = inputs[0].unflatten(1, (module.num_groups, -1)).flatten(2)
        statistics[module] = (groups.mean(2, keepdim=True), groups.var(2, correction=0, keepdim=True))

    with _hooks(decoder, nn.GroupNorm, record):
        yield statistics


@contextmanager
def frozen_norms(
    decoder: nn.Module, statistics: dict[nn.Module, tuple[Tensor, Tensor]], repeats: int
) -> Iterator[None]:
    """Group normalisations use recorded statistics, each image's for `repeats` consecutive images."""

    def normalise(module: nn.GroupNorm, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        mean, variance = (value.repeat_interleave(repeats, 0) for value in statistics[module])
        groups = inputs[0].unflatten(1, (module.num_groups, -1)).flatten(2)
        scaled = ((groups - mean) * (variance + module.eps).rsqrt()).reshape(inputs[0].shape)
        return scaled * module.weight[:, None, None] + module.bias[:, None, None]

    with _hooks(decoder, nn.GroupNorm, normalise):
        yield


@contextmanager
def _hooks(network: nn.Module, kind: type[nn.Module], hook) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module in network.modules() if isinstance(module, kind)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def receptive_field(vqgan: VQGAN) -> int:
    """How many pixels beyond a cell its code reaches through convolutions alone.

    A convolution of side s adds (s - 1) / 2 positions of its own resolution; nearest upsampling adds none.
    """
    top = len(vqgan.config.ch_mult) - 1
    reach = 0
    for name, module in vqgan.decoder.named_modules():
        if isinstance(module, nn.Conv2d) and not name.endswith("shortcut"):
            parts = name.split(".")
            level = int(parts[1]) if parts[0] == "up" else 0 if parts[0] == "conv_out" else top
            level -= "upsample" in parts  # it convolves after it has enlarged
            reach += module.kernel_size[0] // 2 * 2**level
    return reach * vqgan.config.patch


@torch.inference_mode()
def floors(vqgan: VQGAN, grids: np.ndarray) -> list[dict]:
    """Largest change in grey levels between decodings of the same codes: repeated, and alone, not in a batch."""
    codes = torch.from_numpy(grids)
    first, last = vqgan.decode_codes(codes), len(codes) - 1
    changes = {
        "repeat": (vqgan.decode_codes(codes) - first).abs(),
        "batch": (vqgan.decode_codes(codes[last:]) - first[last:]).abs(),
    }
    return [
        row("zero_edit_change", value.max() * GREY_LEVELS, n=len(value), baseline=name)
        for name, value in changes.items()
    ]


if __name__ == "__main__":
    step(locality)
