"""The original's way (Cabibbo et al. 2025), written anew from a description of it.

One image at a time everywhere; codes are int64; taming's own quantiser draws the code even in evaluation, and decodes
it by a product with a one-hot array over the codebook; the nudenet package detects; occurrences are counted by Counters
of Python numbers and tuples; and each replacement function starts from the image: it encodes and detects again.
The score's own code is not described: a dictionary over the counters stands for it.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from nudenet import NudeDetector
from taming.modules.vqvae.quantize import GumbelQuantize
from torch import Tensor

from bench.measure import Stopwatch
from palimpsest.models.pixels import to_tensor, to_uint8
from palimpsest.models.vqgan import VQGAN


@cache
def package_detector() -> NudeDetector:
    return NudeDetector()


@dataclass
class Original:
    """The model with taming's quantiser, and what every function of the original needs."""

    model: VQGAN
    device: torch.device
    classes: tuple[str, ...]
    min_score: float
    top: int

    def __post_init__(self):
        config = self.model.config
        self.quantize = GumbelQuantize(config.z_channels, config.embed_dim, config.codes).to(self.device).eval()
        self.quantize.load_state_dict(self.model.quantize.state_dict())

    @torch.no_grad()
    def encode(self, image: np.ndarray) -> Tensor:
        """Codes (1, h, w) int64 of an image (H, W, 3)."""
        return self.quantize(self.model.latents(to_tensor(image[None]).to(self.device)))[2][2].cpu()

    @torch.no_grad()
    def decode(self, codes: Tensor) -> np.ndarray:
        """The picture (H, W, 3) uint8 of codes (1, h, w)."""
        shape = (*codes.shape, self.model.config.embed_dim)
        latents = self.quantize.get_codebook_entry(codes.to(self.device).view(-1), shape)
        return to_uint8(self.model.decode_latents(latents))[0]

    def detect(self, image: np.ndarray) -> list[dict]:
        """Boxes of the concept in an RGB image; the detector is given BGR."""
        found = package_detector().detect(np.ascontiguousarray(image[:, :, ::-1]))
        return [one for one in found if one["class"] in self.classes and one["score"] >= self.min_score]

    def cells(self, boxes: list[dict]) -> Tensor:
        """The latent mask (h, w): corners of the boxes rounded down, at least one cell."""
        cell, side = self.model.config.downsampling, self.model.config.resolution // self.model.config.downsampling
        mask = torch.zeros(side, side)
        for x, y, width, height in (one["box"] for one in boxes):
            left, top = int(x / cell), int(y / cell)
            right, bottom = max(int((x + width) / cell), left + 1), max(int((y + height) / cell), top + 1)
            mask[top:bottom, left:right] = 1
        return mask

    def edit(self, image: np.ndarray, rule, watch: Stopwatch) -> tuple[np.ndarray, Tensor]:
        """The edited picture and its codes, from the image."""
        with watch("encode", 1):
            codes = self.encode(image)
        with watch("detect", 1):
            mask = self.cells(self.detect(image))
        with watch("replace", 1):
            edited = rule(codes, mask)
        with watch("decode", 1):
            return self.decode(edited), edited


def count(grids: list[Tensor]) -> Counter:
    """How often each code occurs."""
    counts = Counter()
    for grid in grids:
        counts.update(grid.reshape(-1).tolist())
    return counts


def count_patches(grids: list[Tensor], side: int = 3) -> Counter:
    """How often each side x side patch occurs, as tuples of codes."""
    counts = Counter()
    for grid in grids:
        windows = grid.reshape(grid.shape[-2:]).unfold(0, side, 1).unfold(1, side, 1).reshape(-1, side * side)
        unique, times = torch.unique(windows, dim=0, return_counts=True)
        for window, number in zip(unique, times, strict=True):
            counts[tuple(window.tolist())] += number.item()
    return counts


def ranking(forget: Counter, retain: Counter, codes: int) -> list[int]:
    """All codes by falling ratio of raw counts, each plus 1e-8."""
    scores = {code: (forget[code] + 1e-8) / (retain[code] + 1e-8) for code in range(codes)}
    return sorted(scores, key=scores.get, reverse=True)


def nearest_map(codebook: Tensor, explicit: Tensor, safe: Tensor) -> Tensor:
    """For each explicit code the nearest safe one, for every other code itself."""
    table = torch.arange(len(codebook))
    table[explicit] = safe[torch.cdist(codebook[explicit], codebook[safe]).argmin(1)]
    return table


def set_in_mask(codes: Tensor, mask: Tensor, draw) -> Tensor:
    """Cell by cell, a replacement code in the mask."""
    edited = codes.clone()
    for row, column in mask.nonzero().tolist():
        edited[0, row, column] = draw()
    return edited


def substitute(codes: Tensor, explicit: Tensor, draw) -> Tensor:
    """Cell by cell, a replacement for every explicit code of a grid (1, h, w)."""
    chosen = (codes[..., None] == explicit).any(-1)
    edited = codes.clone()
    for row, column in chosen[0].nonzero().tolist():
        edited[0, row, column] = draw()
    return edited


def pipeline(way: Original, images: np.ndarray, retain: list[torch.Tensor], watch: Stopwatch) -> dict:
    """Detect, encode, count, score, replace by three rules, decode."""
    size, cells, grids = way.model.config.codes, [], []
    with watch("all", len(images)):
        for image in images:
            with watch("detect", 1):
                cells.append(way.cells(way.detect(image)))
            with watch("encode", 1):
                grids.append(way.encode(image))
        forget, background = count(grids), count(retain)
        explicit = torch.tensor(ranking(forget, background, size)[: way.top])
        safe = torch.tensor(sorted({code for code in range(size) if background[code] >= 1} - set(explicit.tolist())))
        table = nearest_map(way.model.codebook.cpu(), explicit, safe)
        rules = {
            "fixed": lambda codes, mask: set_in_mask(codes, mask, lambda: 0),
            "nn_embed": lambda codes, mask: torch.where(mask.bool(), table[codes], codes),
            "random_safe": lambda codes, mask: set_in_mask(
                codes, mask, lambda: safe[torch.randint(len(safe), ())].item()
            ),
        }
        edits = {name: [way.edit(image, rules[name], watch) for image in images] for name in rules}
    return {
        "codes": torch.cat(grids).numpy(),
        "cells": torch.stack(cells).bool().numpy(),
        "counts": np.array([forget[code] for code in range(size)]),
        "edited": {name: torch.cat([codes for _, codes in edits[name]]).numpy() for name in rules},
        "images": {name: np.stack([picture for picture, _ in edits[name]]) for name in rules},
    }


def replaced_everywhere(
    grids: list[Tensor], codebook: Tensor, explicit: np.ndarray, safe: np.ndarray
) -> dict[str, list[Tensor]]:
    """Every explicit code of every grid replaced: by index 0, by its nearest safe code, by a random safe code."""
    explicit, safe = torch.from_numpy(explicit), torch.from_numpy(safe)
    table = nearest_map(codebook, explicit, safe)
    return {
        "fixed": [substitute(codes, explicit, lambda: 0) for codes in grids],
        "nn_embed": [table[codes] for codes in grids],
        "random_safe": [
            substitute(codes, explicit, lambda: safe[torch.randint(len(safe), ())].item()) for codes in grids
        ],
    }
