"""Encode the images of a set into codes, once; every edit works on the codes."""

from typing import Literal

import numpy as np
import torch

from palimpsest.arrays import read_pictures
from palimpsest.lcr.arrays import same_network
from palimpsest.models import vqgan as vqgans
from palimpsest.models.pixels import to_tensor
from palimpsest.models.vqgan import pick
from palimpsest.options import Count, Positive, choice
from palimpsest.run import Input, Output, step, torch_device

Sampling = Literal["argmax", "gumbel"]


def encode(
    network: Input,
    images: Input,
    codes: Output,
    entropy: Output,
    *,
    sampling: Sampling = "argmax",
    batch: Positive = 64,
    device: str = "auto",
    seed: Count = 0,
) -> dict:
    """Write codes (n, h, w) and the entropy in bits of each cell's code distribution (n, h, w) float16.

    sampling: "argmax", or "gumbel" for a draw per cell, as the original encodes. A nearest-neighbour model has no
    distribution: it is always encoded by the nearest code, and its entropy is zero.
    """
    choice(sampling, Sampling, "sampling")
    model = vqgans.load(network).to(torch_device(device))
    pictures = read_pictures(images)
    gumbel = model.config.quantiser == "gumbel"
    generator = torch.Generator(model.device).manual_seed(seed) if gumbel and sampling == "gumbel" else None
    height, width = (side // model.config.downsampling for side in pictures.shape[1:3])
    found = np.empty((len(pictures), height, width), np.uint16 if model.config.codes <= 2**16 else np.uint32)
    bits = np.zeros(found.shape, np.float16)
    with torch.inference_mode():
        for start in range(0, len(pictures), batch):
            part = slice(start, start + batch)
            logits = model.encode_logits(to_tensor(pictures[part]))
            found[part] = pick(logits, generator).cpu().numpy()
            if gumbel:
                bits[part] = entropy_bits(logits).cpu().numpy()
    np.save(codes, found)
    np.save(entropy, bits)
    facts = {"images": len(found), "cells": found[0].size, "mean_entropy_bits": float(bits.mean())}
    return facts | same_network(network=network)


def entropy_bits(logits: torch.Tensor) -> torch.Tensor:
    """Entropy in bits of softmax(logits) over the codes (axis 1)."""
    log_share = logits.log_softmax(1)
    return -(log_share.exp() * log_share).sum(1) / np.log(2)


if __name__ == "__main__":
    step(encode)
