"""Which weights matter for what is to be forgotten: the batches they are judged by, and the first of them."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from palimpsest.unlearning.engine import Batch, Step, draw
from palimpsest.unlearning.streams import Stream


def forget_batches(step: Step, count: int | None) -> Iterator[Batch]:
    """So many batches of targets, each in its turn; as many as it takes to have all of them if None."""
    targets, rng = step.context.target, step.random(Stream.SALIENCY)
    count = count or -(-len(targets) // step.size)
    picks = np.resize(rng.permutation(len(targets)), (count, step.size))
    times = rng.integers(step.context.timesteps, size=picks.shape)
    for number, (rows, when) in enumerate(zip(picks, times, strict=True)):
        yield draw(targets, rows, when, step.places, step.context.number(Stream.SALIENCY, step.index, number))


def top(values: Tensor, share: float) -> Tensor:
    """Which values (n,) are the greatest, so large a share of them; those equal to the next one are left out."""
    rest = len(values) - round(share * len(values))
    if rest == 0:
        return torch.ones_like(values, dtype=torch.bool)
    return values > values.kthvalue(rest).values
