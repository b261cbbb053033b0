"""What the trainings of the small networks share: batches and the optimiser's loop."""

import math
from collections.abc import Callable, Iterator
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from palimpsest.options import Positive, Size


class Training(TypedDict):
    """Options that every training has."""

    batch: Positive
    steps: Positive
    learning_rate: Size


def batches(count: int, size: int, steps: int, seed: int) -> Iterator[np.ndarray]:
    """`steps` index arrays of `size`, each pass over the data in a new order."""
    rng = np.random.default_rng(seed)
    order = np.empty(0, np.int64)
    for _ in range(steps):
        while len(order) < size:
            order = np.concatenate([order, rng.permutation(count)])
        yield np.sort(order[:size])
        order = order[size:]


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def fit(
    network: nn.Module,
    loss_of: Callable[[np.ndarray, int], Tensor],
    *,
    count: int,
    batch: int,
    steps: int,
    learning_rate: float,
    seed: int,
    weight_decay: float = 1e-4,
    clip: float = math.inf,
    after_step: Callable[[int], None] = lambda index: None,
) -> list[float]:
    """AdamW under a one-cycle schedule; loss_of(indices, step) gives the loss of a batch.

    In bf16 autocast where the processor computes in it; elsewhere it would be emulated, some ten times slower
    than float32. Gradients are clipped to the length `clip`.

    Returns the mean loss of each twentieth of the run. A loss that is not finite stops it.
    """
    optimiser = torch.optim.AdamW(network.parameters(), learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps + 1, pct_start=0.1)
    network.train()
    losses, autocast = [], has_bfloat16()
    progress = tqdm(batches(count, batch, steps, seed), total=steps, mininterval=5)
    for index, picks in enumerate(progress):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = loss_of(picks, index)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {index}: lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimiser.step()
        schedule.step()
        after_step(index)
        losses.append(loss.item())
        progress.set_postfix(loss=f"{np.mean(losses[-50:]):.4f}", refresh=False)
    network.eval()
    return [round(float(np.mean(part)), 5) for part in np.array_split(losses, min(20, len(losses)))]
