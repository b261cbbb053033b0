"""Our way: the functions of palimpsest, every image encoded and searched once, everything in batches."""

import copy
from dataclasses import dataclass

import numpy as np
import torch

from bench.measure import Stopwatch
from palimpsest.judges import nudenet
from palimpsest.lcr.cells import cells_of
from palimpsest.lcr.codes import count_codes
from palimpsest.lcr.context import Context
from palimpsest.lcr.encode import entropy_bits
from palimpsest.lcr.rules import fixed, nn_embed, random_safe
from palimpsest.lcr.score import Side, legacy_ratio
from palimpsest.lcr.selection import safe_codes
from palimpsest.models import vqgan as vqgans
from palimpsest.models.pixels import to_tensor
from palimpsest.models.vqgan import VQGAN, pick

RULES = 3


@dataclass(frozen=True)
class Precision:
    """The dtype of the encoder and of the decoder, and the memory layout of both."""

    encoder: torch.dtype = torch.float32
    decoder: torch.dtype = torch.float32
    channels_last: bool = False


@dataclass
class Ours:
    """The functions of palimpsest, batched; precision and memory layout are set around them."""

    model: VQGAN
    device: torch.device
    precision: Precision
    classes: tuple[str, ...]
    min_score: float
    top: int

    def __post_init__(self):
        layout = torch.channels_last if self.precision.channels_last else torch.contiguous_format
        self.model = copy.deepcopy(self.model).to(memory_format=layout)
        self.rules_model = copy.deepcopy(self.model).cpu()
        self.detector = nudenet.load(threads=torch.get_num_threads())

    def autocast(self, dtype: torch.dtype):
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)

    @torch.inference_mode()
    def encode(self, images: np.ndarray) -> np.ndarray:
        """Codes and their entropy, as palimpsest.lcr.encode; the logits are float32 whatever the precision."""
        with self.autocast(self.precision.encoder):
            latents = self.model.latents(to_tensor(images).to(self.device))
        logits = self.model.quantize.logits(latents.float())
        entropy_bits(logits)
        return pick(logits).cpu().numpy().astype(np.uint16)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        with self.autocast(self.precision.decoder):
            return vqgans.decode(self.model, codes)

    def cells(self, images: np.ndarray, grid: tuple[int, int, int]) -> np.ndarray:
        """The cells that the original takes: colours swapped, whole pixels, corners rounded down."""
        found = nudenet.detect(self.detector, images, floor=self.min_score, channels="bgr", batch=4)
        found = found.select(np.isin(found.label, nudenet.class_indices(self.classes)))
        corner, sides = np.trunc(found.box[:, :2]), np.trunc(found.box[:, 2:] - found.box[:, :2])
        boxes = np.concatenate([corner, corner + sides], 1)
        return cells_of(found.image, boxes, grid, images.shape[1:3], "floor")

    def context(self, explicit: np.ndarray, counts: np.ndarray) -> Context:
        empty = np.empty((0, 0, 0), np.uint16)
        chosen = {"explicit": explicit, "safe": safe_codes(counts, explicit, 1), "counts": counts}
        unused = {"bank": empty, "fit_codes": empty, "fit_cells": empty}
        return Context(model=self.rules_model, images=empty, **chosen, **unused)


def replaced(codes: np.ndarray, cells: np.ndarray, context: Context) -> dict[str, np.ndarray]:
    """Codes by rule; the map of nearest neighbours changes explicit codes only, as the original's does."""
    rng = np.random.default_rng(0)
    explicit = cells & np.isin(codes, context.explicit)
    return {
        "fixed": fixed.replace(codes, cells, context, rng, index=0),
        "nn_embed": nn_embed.replace(codes, explicit, context, rng),
        "random_safe": random_safe.replace(codes, cells, context, rng),
    }


def ranked(forget: np.ndarray, retain: np.ndarray) -> np.ndarray:
    sides = (Side(counts, counts, None, None) for counts in (forget, retain))
    return np.argsort(-legacy_ratio(*sides)["value"], kind="stable")


def pipeline(way: Ours, images: np.ndarray, retain: np.ndarray, watch: Stopwatch) -> dict:
    """The same, everything once and in batches."""
    size = way.model.config.codes
    with watch("all", len(images)):
        with watch("encode", len(images)):
            codes = way.encode(images)
        with watch("detect", len(images)):
            cells = way.cells(images, codes.shape)
        counts, background = (count_codes(grids, size) for grids in (codes, retain))
        context = way.context(ranked(counts, background)[: way.top], background)
        with watch("replace", len(images) * RULES):
            edited = replaced(codes, cells, context)
        with watch("decode", len(images) * RULES):
            decoded = {name: way.decode(edited[name]) for name in edited}
    return {"codes": codes, "cells": cells, "counts": counts, "edited": edited, "images": decoded}
