"""The scales of a next-scale model: square grids from 1 x 1 to the full one, whose tokens follow each other in a row.

sizes: the side of each grid, growing; L: the number of tokens of all of them. Grids are (n, c, side, side).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Mode = Literal["area", "bilinear", "bicubic"]


def check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """The sizes; raises ValueError unless there are two at least, the first is 1 and each is greater than the last."""
    found = tuple(sizes)
    if len(found) < 2 or found[0] != 1 or any(one >= two for one, two in pairwise(found)):
        raise ValueError(f"the scales are {list(found)}: give two sides at least, first 1, each greater than the last")
    return found


def spans(sizes: Sequence[int]) -> list[slice]:
    """Where the tokens of each scale stand in the row of all."""
    found, start = [], 0
    for side in sizes:
        found.append(slice(start, start := start + side * side))
    return found


def levels(sizes: Sequence[int]) -> Tensor:
    """The number of the scale of each token (L,), int64."""
    return torch.cat([torch.full((side * side,), scale) for scale, side in enumerate(sizes)])


def positions(sizes: Sequence[int], over: int) -> Tensor:
    """The row and column of each token (L, 2), int64, its grid spread over one of side `over` and rounded there."""
    found = []
    for side in sizes:
        line = (torch.arange(side) * (over / side)).round().long()
        found.append(torch.cartesian_prod(line, line).view(-1, 2))
    return torch.cat(found)


def block_causal(sizes: Sequence[int]) -> Tensor:
    """Which token may see which, (L, L) bool: all of its own scale and of those before (Tian et al. 2024)."""
    found = levels(sizes)
    return found[:, None] >= found[None]


def size_weights(sizes: Sequence[int]) -> Tensor:
    """The weight of each token (L,), of sum 1: as one over the side of its grid (Han et al. 2025).

    The first scales, which have few tokens, count more than their number.
    """
    found = torch.cat([torch.full((side * side,), 1.0 / side) for side in sizes])
    return found / found.sum()


def resized(grid: Tensor, side: int, mode: Mode) -> Tensor:
    """A grid at another side; at its own it is left as it is. "area" takes means, the others interpolate alone."""
    if grid.shape[-1] == side:
        return grid
    return F.interpolate(grid, size=(side, side), mode=mode, align_corners=None if mode == "area" else False)


def as_row(grid: Tensor) -> Tensor:
    """A grid's tokens in a row, (n, side * side, c)."""
    return grid.flatten(2).transpose(1, 2)


def as_grid(row: Tensor) -> Tensor:
    """Tokens of one scale (n, side * side, c) as a grid."""
    side = round(row.shape[1] ** 0.5)
    return row.transpose(1, 2).unflatten(2, (side, side))
