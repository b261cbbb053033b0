"""Features as tokens of growing scales, each of what the scales before have left (Tian et al. 2024, Han et al. 2025).

F_0 = 0; at scale k the residual f - F_{k-1} is taken down to the scale's grid and quantised to tokens r_k, which are
taken up again: F_k = F_{k-1} + phi_k(up(vectors(r_k))). What a transformer sees at scale k + 1 is F_k at that scale's
side: `inputs`, by the very function that sampling goes through scale by scale (`add`, `next_input`).

A token is one or more symbols, each one of so many values, so that both kinds of tokens are read alike:

* `bits`: the signs of the residual, d symbols of 2 values; the vector is +-1/sqrt(d) (binary spherical quantisation,
  Zhao et al. 2024)
* `codes`: the nearest row of a codebook, 1 symbol of V values; phi_k mixes a convolution in, a few for all scales

f, F: features (n, c, side, side). Symbols: (n, L, symbols) int64, of one scale (n, side * side, symbols).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from palimpsest.models.scales import Mode, as_grid, as_row, check_sizes, resized, spans

FLIP_RATES = 31  # a scale's rate of wrong symbols is one of so many, evenly from none to the strength (Han et al. 2025)
LONGEST_TOKEN = 62  # bits: more do not fit a signed number of 64


class Bits(nn.Module):
    """Tokens of d bits, which have nothing to learn: each is the sign of its channel."""

    values = 2

    def __init__(self, bits: int):
        super().__init__()
        self.channels = self.symbols = bits

    def nearest(self, grid: Tensor) -> Tensor:
        """The bits (n, side * side, d) of features: those of the vector that is nearest to the features' direction."""
        return as_row(grid > 0).long()

    def vectors(self, symbols: Tensor) -> Tensor:
        """The vectors (n, d, side, side) of bits: of length 1."""
        return as_grid((2.0 * symbols - 1) / math.sqrt(self.channels))


class Codes(nn.Module):
    """Tokens that are rows of a codebook."""

    symbols = 1

    def __init__(self, codes: int, channels: int):
        super().__init__()
        self.values, self.channels = codes, channels
        self.embedding = nn.Embedding(codes, channels)
        nn.init.uniform_(self.embedding.weight, -1 / codes, 1 / codes)

    def nearest(self, grid: Tensor) -> Tensor:
        """The row (n, side * side, 1) that is nearest to the features, by the squared distance."""
        cells, weight = as_row(grid), self.embedding.weight
        # The squared length of the features is the same for every row.
        distance = weight.square().sum(1) - 2 * cells @ weight.T
        return distance.argmin(-1, keepdim=True)

    def vectors(self, symbols: Tensor) -> Tensor:
        """The vectors (n, c, side, side) of rows."""
        return as_grid(self.embedding(symbols[..., 0]))


class Mixed(nn.Conv2d):
    """phi(h) = (1 - share) h + share conv(h), of 3 x 3 cells (Tian et al. 2024)."""

    def __init__(self, channels: int, share: float = 0.5):
        super().__init__(channels, channels, 3, padding=1)
        self.share = share

    def forward(self, grid: Tensor) -> Tensor:
        """Features of the same shape."""
        return (1 - self.share) * grid + self.share * super().forward(grid)


@dataclass(frozen=True)
class Quantised:
    """symbols (n, L, symbols); inputs (n, L - 1, c): what a transformer sees from the second scale on; total: F_K."""

    symbols: Tensor
    inputs: Tensor
    total: Tensor


class ResidualQuantiser(nn.Module):
    """Features to tokens of all scales and back. sizes: sides of the scales.

    mixing: how many phi the scales share; 0 is none. up: how a scale's vectors are taken to the full grid; shown: how
    F_k is taken to the side of the next scale. Infinity interpolates for both ("bilinear", which is its trilinear of
    one frame), VAR takes "bicubic" and "area".
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        kind: Literal["bits", "codes"] = "bits",
        bits: int = 0,
        codes: int = 0,
        channels: int = 0,
        mixing: int = 0,
        up: Mode = "bilinear",
        shown: Mode = "bilinear",
    ):
        super().__init__()
        self.sizes, self.up, self.shown = check_sizes(sizes), up, shown
        if kind not in ("bits", "codes"):
            raise ValueError(f"kind is {kind!r}: give bits or codes")
        if min([bits] if kind == "bits" else [codes, channels]) < 1:
            raise ValueError(f"a quantiser of {kind} needs {'bits' if kind == 'bits' else 'codes and channels'}")
        self.tokens = Bits(bits) if kind == "bits" else Codes(codes, channels)
        self.mix = nn.ModuleList(Mixed(self.channels) for _ in range(mixing))

    @property
    def channels(self) -> int:
        """Channels of the features."""
        return self.tokens.channels

    @property
    def symbols(self) -> int:
        """Symbols of a token: its bits, or 1."""
        return self.tokens.symbols

    @property
    def values(self) -> int:
        """Values that a symbol may have: 2, or the size of the codebook."""
        return self.tokens.values

    def nothing(self, count: int, device: torch.device | str = "cpu") -> Tensor:
        """F_0: features (count, c, side, side) of zeros."""
        side = self.sizes[-1]
        return torch.zeros(count, self.channels, side, side, device=device)

    def add(self, total: Tensor, symbols: Tensor, scale: int) -> Tensor:
        """F_k of F_{k-1} and the symbols of scale k (n, side * side, symbols)."""
        found = resized(self.tokens.vectors(symbols), self.sizes[-1], self.up)
        if len(self.mix):
            found = self.mix[nearest_tick(scale, len(self.sizes), len(self.mix))](found)
        return total + found

    def next_input(self, total: Tensor, scale: int) -> Tensor:
        """What is seen of F_k at the positions of the scale after k, (n, side * side, c)."""
        return as_row(resized(total, self.sizes[scale + 1], self.shown))

    def quantise(self, features: Tensor, offsets: Tensor | None = None) -> Quantised:
        """The tokens of features, with what a transformer is fed.

        offsets (n, L, symbols): what is added to the right symbols, modulo their values, before the scales go on; so
        that later scales mend it, and their symbols here are those that do (bitwise self-correction, Han et al. 2025:
        an offset of 1 flips a bit). The symbols given are the right ones.
        """
        total, symbols, inputs = self.nothing(len(features), features.device), [], []
        for scale, (side, span) in enumerate(zip(self.sizes, spans(self.sizes), strict=True)):
            right = self.tokens.nearest(resized(features - total, side, "area"))
            symbols.append(right)
            used = right if offsets is None else (right + offsets[:, span]) % self.values
            total = self.add(total, used, scale)
            if scale + 1 < len(self.sizes):
                inputs.append(self.next_input(total, scale))
        return Quantised(torch.cat(symbols, 1), torch.cat(inputs, 1), total)

    def read(self, symbols: Tensor) -> Quantised:
        """The features that tokens (n, L, symbols) stand for, with what a transformer is fed on the way."""
        total, inputs = self.nothing(len(symbols), symbols.device), []
        for scale, span in enumerate(spans(self.sizes)):
            total = self.add(total, symbols[:, span], scale)
            if scale + 1 < len(self.sizes):
                inputs.append(self.next_input(total, scale))
        return Quantised(symbols, torch.cat(inputs, 1), total)


def nearest_tick(scale: int, scales: int, count: int) -> int:
    """Which of `count` shared phi a scale has: those are spread evenly over the scales, as VAR spreads them."""
    edge = 1 / 3 / count if count == 4 else 1 / 2 / count  # VAR's own constant for its four
    ticks = np.linspace(edge, 1 - edge, count)
    return int(np.abs(ticks - scale / (scales - 1)).argmin())


def drawn_offsets(
    rng: np.random.Generator, count: int, sizes: Sequence[int], symbols: int, values: int, strength: float
) -> Tensor:
    """Offsets (count, L, symbols) for `quantise`: which symbols are wrong, and by how much.

    Each picture's scale has a rate of its own, one of FLIP_RATES from 0 to the strength.
    """
    rates = rng.integers(FLIP_RATES, size=(count, len(sizes))) * (strength / (FLIP_RATES - 1))
    every = np.repeat(rates, [side * side for side in sizes], axis=1)[..., None]
    wrong = rng.random((*every.shape[:2], symbols), np.float32) < every
    return torch.from_numpy(wrong * rng.integers(1, values, wrong.shape)) if values > 2 else torch.from_numpy(wrong)


def to_tokens(bits: Tensor) -> Tensor:
    """Tokens (...) int64 of bits (..., d), the first bit the greatest. Raises ValueError for more than fit."""
    if bits.shape[-1] > LONGEST_TOKEN:
        raise ValueError(f"a token of {bits.shape[-1]} bits has no number: {LONGEST_TOKEN} fit one of 64 bits")
    return (bits.long() << torch.arange(bits.shape[-1] - 1, -1, -1, device=bits.device)).sum(-1)


def to_bits(tokens: Tensor, bits: int) -> Tensor:
    """Bits (..., d) int64 of tokens (...)."""
    return tokens[..., None] >> torch.arange(bits - 1, -1, -1, device=tokens.device) & 1
