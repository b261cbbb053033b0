"""How random is the encoder? Entropy of the code draws, their agreement, and what that costs in the picture.

taming's Gumbel quantiser draws every code from softmax(logits), in evaluation too, whatever the temperature. Two
encodings of one picture agree at a cell with chance sum_k p_k^2, a draw agrees with the argmax with chance max_k p_k.
A nearest-neighbour quantiser draws nothing; beside its agreement stands the margin of the decision: how much farther
the second code is than the first, as a share of the second's distance.
"""

from typing import Annotated, TypedDict

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.arrays import read_pictures
from palimpsest.metrics import measurements as tidy
from palimpsest.metrics.intervals import bootstrap
from palimpsest.metrics.measurements import row
from palimpsest.metrics.similarity import error_map
from palimpsest.models import vqgan as vqgans
from palimpsest.models.pixels import to_tensor, to_unit
from palimpsest.models.vqgan import VQGAN
from palimpsest.options import Count, Positive, check
from palimpsest.run import Input, Output, step, torch_device

DECIDED = 0.1  # bits: below it a cell is as good as decided
HISTOGRAM_BINS = 50


class Settings(TypedDict):
    """images: how many are measured; draws: of each; batch: pictures at once."""

    images: Positive
    draws: Annotated[int, "a whole number from 2 on", lambda value: value >= 2]
    batch: Positive


def encoder_noise(
    network: Input,
    images: Input,
    cells: Output,
    measurements: Output,
    *,
    model: str,
    preset: str,
    set: str,
    params: dict,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """Measure the first params[`images`] pictures with params[`draws`] draws each, params[`batch`] at once.

    cells: a histogram over cells with columns quantity (entropy_bits or margin), low, high, cells.
    """
    check(Settings, params, "params of the encoder's noise")
    vqgan = vqgans.load(network).to(torch_device(device))
    generator = torch.Generator(vqgan.device).manual_seed(seed)
    gumbel = vqgan.config.quantiser == "gumbel"
    pictures = to_tensor(read_pictures(images)[: params["images"]])
    parts = []
    for part in pictures.split(params["batch"]):
        parts.append(drawn(vqgan, part, params["draws"], generator) if gumbel else repeated(vqgan, part))
    found = {name: torch.cat([part[name] for part in parts]).cpu().double().numpy() for name in parts[0]}
    quantity, top = ("entropy_bits", float(np.log2(vqgan.config.codes))) if gumbel else ("margin", 1.0)
    histogram(found[quantity], quantity, top).to_parquet(cells, index=False)
    rows = [*(gumbel_rows(found, seed) if gumbel else nearest_rows(found, seed)), *common_rows(found, seed)]
    labels = {"model": model, "preset": preset, "set": set, "method": "encoder_noise", "seed": seed}
    tidy.write(measurements, rows, family="lcr", **labels)
    return {"images": len(pictures), "quantiser": vqgan.config.quantiser}


@torch.inference_mode()
def drawn(vqgan: VQGAN, pictures: Tensor, draws: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Entropy and agreement of every cell (n, h, w), and PSNR of the argmax (n,) and of the draws (n, d)."""
    logits = vqgan.encode_logits(pictures)
    chance = logits.softmax(1)
    best = logits.argmax(1)
    codes = torch.stack([gumbel_draw(logits, generator) for _ in range(draws)], 1)
    drawn_pictures = [decoded_psnr(vqgan, codes[:, draw], pictures) for draw in range(draws)]
    return {
        "entropy_bits": torch.special.entr(chance).sum(1) / np.log(2),
        "expected_agreement": chance.square().sum(1),
        "measured_agreement": pair_agreement(codes),
        "expected_argmax": chance.amax(1),
        "measured_argmax": (codes == best[:, None]).double().mean(1),
        "psnr_argmax": decoded_psnr(vqgan, best, pictures),
        "psnr_draws": torch.stack(drawn_pictures, 1),
    }


def gumbel_draw(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Codes (n, h, w) drawn from softmax over axis 1 (Gumbel-max trick)."""
    noise = torch.empty_like(logits).exponential_(generator=generator)
    return (logits - noise.log_()).argmax(1)


def pair_agreement(codes: Tensor) -> Tensor:
    """The share of pairs of draws that agree, (n, h, w), from codes (n, d, h, w) of d >= 2 draws."""
    draws = codes.shape[1]
    pairs = torch.combinations(torch.arange(draws))
    return (codes[:, pairs[:, 0]] == codes[:, pairs[:, 1]]).double().mean(1)


@torch.inference_mode()
def repeated(vqgan: VQGAN, pictures: Tensor) -> dict[str, Tensor]:
    """Of every picture: agreement of two encodings and margin of its cells (n, h, w), and its PSNR (n,)."""
    z = vqgan.latents(pictures)
    codes = vqgan.quantize.logits(z).topk(2, dim=1).indices
    first, second = (z[:, None] - vqgan.codebook[codes].movedim(-1, 2)).norm(dim=2).unbind(1)
    return {
        "margin": 1 - first / second,
        "measured_agreement": (vqgan.encode(pictures) == vqgan.encode(pictures)).double(),
        "measured_argmax": (vqgan.encode(pictures) == codes[:, 0]).double(),
        "psnr_argmax": decoded_psnr(vqgan, codes[:, 0], pictures),
    }


def decoded_psnr(vqgan: VQGAN, codes: Tensor, pictures: Tensor) -> Tensor:
    """PSNR (n,) in dB of decoded codes against the pictures."""
    decoded = to_unit(vqgan.decode_codes(codes).clamp(-1, 1))
    return -10 * error_map(decoded, to_unit(pictures.to(vqgan.device))).mean((1, 2)).log10()


def mean_row(metric: str, values: np.ndarray, seed: int, **labels) -> dict:
    """Mean over images of values (n, ...), with its interval over images."""
    per_image = values.reshape(len(values), -1).mean(1)
    return row(metric, per_image.mean(), *bootstrap(per_image, seed=seed), n=len(values), **labels)


def gumbel_rows(found: dict[str, np.ndarray], seed: int) -> list[dict]:
    """Entropy, expected agreements and the spread over draws."""
    entropy, n = found["entropy_bits"], len(found["entropy_bits"])
    quantiles = {f"q{share:02.0%}".rstrip("%"): np.quantile(entropy, share) for share in (0.1, 0.25, 0.75, 0.9, 0.99)}
    draws = found["psnr_draws"]
    return [
        mean_row("cell_entropy_bits", entropy, seed, statistic="mean"),
        row("cell_entropy_bits", np.median(entropy), n=n, statistic="median"),
        *(row("cell_entropy_bits", value, n=n, statistic=name) for name, value in quantiles.items()),
        mean_row("decided_share", entropy < DECIDED, seed, below_bits=DECIDED),
        mean_row("draw_agreement", found["expected_agreement"], seed, kind="expected"),
        mean_row("argmax_agreement", found["expected_argmax"], seed, kind="expected"),
        mean_row("psnr_draw", draws, seed),
        mean_row("psnr_draw_spread", draws.std(1, ddof=1), seed),
        mean_row("psnr_draw_loss", found["psnr_argmax"] - draws.mean(1), seed),
    ]


def nearest_rows(found: dict[str, np.ndarray], seed: int) -> list[dict]:
    """The margin of the nearest code."""
    margin = found["margin"]
    return [
        mean_row("code_margin", margin, seed, statistic="mean"),
        row("code_margin", np.median(margin), n=len(margin), statistic="median"),
    ]


def common_rows(found: dict[str, np.ndarray], seed: int) -> list[dict]:
    """What both quantisers have: measured agreements and the PSNR of the deterministic encoding."""
    return [
        mean_row("draw_agreement", found["measured_agreement"], seed, kind="measured"),
        mean_row("argmax_agreement", found["measured_argmax"], seed, kind="measured"),
        mean_row("psnr_argmax", found["psnr_argmax"], seed),
    ]


def histogram(values: np.ndarray, quantity: str, top: float) -> pd.DataFrame:
    """Numbers of cells in 50 equal bins from 0 to `top`."""
    count, edges = np.histogram(values.clip(0, top), bins=HISTOGRAM_BINS, range=(0, top))
    return pd.DataFrame({"quantity": quantity, "low": edges[:-1], "high": edges[1:], "cells": count})


if __name__ == "__main__":
    step(encoder_noise)
