"""The rule of latent code replacement on tokens of growing scales, while a picture is drawn (Cabibbo et al. 2025).

Symbols that pictures of a concept have more often than safe ones are looked for in pairs of rollouts, and wherever one
is drawn, what safe pictures have there takes its place; later scales see what was put there. A symbol is known by its
scale alone (a code, wherever it stands), or by its place in the scale too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from palimpsest.models.scales import spans

Known = Literal["codes", "places"]
PRIOR = 0.5  # pictures that had each value before any was seen


@dataclass(frozen=True)
class Rule:
    """marked (L, symbols, values): the values that are replaced; safe (L, symbols, values): what safe pictures have."""

    marked: Tensor
    safe: Tensor

    def hits(self, symbols: Tensor, part: slice) -> Tensor:
        """Which symbols (n, l, symbols) of some tokens are replaced."""
        marked = self.marked[part].expand(len(symbols), -1, -1, -1)
        return marked.gather(-1, symbols[..., None])[..., 0]

    def replaced(self, symbols: Tensor, part: slice, generator: torch.Generator) -> Tensor:
        """The symbols (n, l, symbols) of some tokens by the rule."""
        shares = self.safe[part].flatten(0, 1)
        drawn = torch.multinomial(shares, len(symbols), replacement=True, generator=generator)
        return torch.where(self.hits(symbols, part), drawn.T.view_as(symbols), symbols)


def rule_of(own: Tensor, safe: Tensor, sizes: Sequence[int], values: int, known: Known, top: float) -> Rule:
    """The rule that replaces the share `top` of what pictures of a concept have more often than safe ones.

    own, safe: tokens (n, L, symbols) of both. The score of a value of a symbol, by its scale or place, is
    P(value | concept) log(P(value | concept) / P(value | safe)): what it adds to the divergence of the two.
    """
    concept, plain = (shares_of(each, sizes, values, known) for each in (own, safe))
    scores = concept * (concept.log() - plain.log())
    # Of codes all tokens of a scale have the same score: the first stands for them.
    rows = [part.start for part in spans(sizes)] if known == "codes" else slice(None)
    candidates = scores[rows]
    candidates = candidates[candidates > 0]
    if not len(candidates):
        return Rule(torch.zeros_like(scores, dtype=torch.bool), plain)
    return Rule(scores >= candidates.topk(max(1, round(top * len(candidates)))).values[-1], plain)


def shares_of(tokens: Tensor, sizes: Sequence[int], values: int, known: Known) -> Tensor:
    """How often tokens (n, L, symbols) have each value (L, symbols, values) at a scale, or at a place; smoothed."""
    counts = torch.nn.functional.one_hot(tokens, values).double().sum(0)
    if known == "codes":
        counts = torch.cat([counts[part].sum(0, keepdim=True).expand_as(counts[part]) for part in spans(sizes)])
    counts = counts + PRIOR
    return counts / counts.sum(-1, keepdim=True)


def by_rule(rule: Rule, seed: int) -> tuple[Callable[[Tensor, slice], Tensor], dict[int, Tensor]]:
    """What takes the place of tokens drawn at a scale; and how many symbols (n,) it changed, by the scale's start."""
    generator, changed = torch.Generator().manual_seed(seed), {}

    def edit(symbols: Tensor, part: slice) -> Tensor:
        found = rule.replaced(symbols.cpu(), part, generator).to(symbols.device)
        changed[part.start] = (found != symbols).flatten(1).sum(1)
        return found

    return edit, changed


def at_random(changed: dict[int, Tensor], values: int, seed: int) -> Callable[[Tensor, slice], Tensor]:
    """The null: as many symbols of each picture and scale are changed to another value, wherever they stand."""
    generator = torch.Generator().manual_seed(seed)

    def edit(symbols: Tensor, part: slice) -> Tensor:
        every = torch.ones_like(symbols, dtype=torch.bool)
        picked = some_of(every, changed[part.start], generator)
        moved = torch.randint(1, values, symbols.shape, generator=generator).to(symbols.device)
        return torch.where(picked, (symbols + moved) % values, symbols)

    return edit


def some_of(places: Tensor, counts: Tensor, generator: torch.Generator) -> Tensor:
    """So many (n,) of the places (n, ...) of each row that are true, at random; all of them where there are fewer."""
    keys = torch.rand(places.shape, generator=generator).to(places.device).masked_fill(~places, 2.0).flatten(1)
    ranks = keys.argsort(1).argsort(1)
    return (ranks < counts[:, None]).view_as(places) & places
