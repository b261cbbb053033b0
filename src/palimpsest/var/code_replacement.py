"""The rules of latent code replacement on tokens of growing scales, while a picture is drawn (Cabibbo et al. 2025).

What pictures of a concept have more often than safe ones is looked for in pairs of rollouts, and wherever it is drawn,
what safe pictures have takes its place; later scales see what was put there. That is the value of a single symbol (a
bit, where tokens are bits), or, as in the source, whose code is one, a whole token: all its symbols together. Both are
known by their scale alone, wherever they stand, or by their place in the scale too (`placed`).

Whole tokens are many and pairs are few: of what the prompts of `mini` draw, 3 to 6 of 100 tokens were met at their
scale in the pairs. A token that neither side of the pairs has is never replaced. Those that are seen once, on the
concept's side, have the same score, all of a scale, or of a place: where the share `top` ends among them, all are
marked. Whether they are concept or chance the pairs do not tell; they are replaced only where they are drawn again as
they were. What takes the place of a token is one that a safe picture has at that scale or place, so none that nobody
drew.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from palimpsest.models.scales import levels, spans

Known = Literal["symbols", "placed_symbols", "tokens", "placed_tokens"]
PRIOR = 0.5  # pictures that had each value, or each token that is seen at all, before any was seen


@dataclass(frozen=True)
class Rule:
    """marked (L, symbols, values): the values that are replaced; safe (L, symbols, values): what safe pictures have."""

    marked: Tensor
    safe: Tensor
    whole: ClassVar[bool] = False

    def hits(self, symbols: Tensor, part: slice) -> Tensor:
        """Which symbols (n, l, symbols) of some tokens are replaced."""
        marked = self.marked[part].expand(len(symbols), -1, -1, -1)
        return marked.gather(-1, symbols[..., None])[..., 0]

    def replaced(self, symbols: Tensor, part: slice, generator: torch.Generator) -> Tensor:
        """The symbols (n, l, symbols) of some tokens by the rule."""
        shares = self.safe[part].flatten(0, 1)
        drawn = torch.multinomial(shares, len(symbols), replacement=True, generator=generator)
        return torch.where(self.hits(symbols, part), drawn.T.view_as(symbols), symbols)


@dataclass(frozen=True)
class TokenRule:
    """marked (m, 1 + symbols): the tokens that are replaced, each after the number of its scale, or place.

    safe (n, L, symbols): tokens of safe pictures; numbers (L,): the scale of each token, or its place where `placed`.
    """

    marked: Tensor
    safe: Tensor
    numbers: Tensor
    placed: bool
    whole: ClassVar[bool] = True

    def hits(self, symbols: Tensor, part: slice) -> Tensor:
        """Which tokens (n, l, 1) of some are replaced."""
        drawn = numbered(symbols, self.numbers[part])
        kind = torch.unique(torch.cat([self.marked, drawn.flatten(0, 1)]), dim=0, return_inverse=True)[1]
        many = len(self.marked)
        return torch.isin(kind[many:], kind[:many]).view(*drawn.shape[:2], 1)

    def replaced(self, symbols: Tensor, part: slice, generator: torch.Generator) -> Tensor:
        """The symbols (n, l, symbols) of some tokens by the rule."""
        if not len(self.marked):
            return symbols
        shape = symbols.shape[:2]
        pictures = torch.randint(len(self.safe), shape, generator=generator)
        places = torch.randint(part.start, part.stop, shape, generator=generator)
        if self.placed:
            places = torch.arange(part.start, part.stop).expand(shape)
        return torch.where(self.hits(symbols, part), self.safe[pictures, places], symbols)


def rule_of(own: Tensor, safe: Tensor, sizes: Sequence[int], values: int, known: Known, top: float) -> Rule | TokenRule:
    """The rule that replaces the share `top` of what pictures of a concept have more often than safe ones.

    own, safe: tokens (n, L, symbols) of both. The score of a value of a symbol, or of a token, by its scale or place,
    is P(value | concept) log(P(value | concept) / P(value | safe)): what it adds to the divergence of the two.
    """
    placed = known.startswith("placed")
    if known.endswith("tokens"):
        return token_rule(own, safe, torch.arange(own.shape[1]) if placed else levels(sizes), placed, top)
    concept, plain = (shares_of(each, sizes, values, placed) for each in (own, safe))
    scores = concept * (concept.log() - plain.log())
    # All tokens of a scale have the same score: the first stands for them.
    rows = slice(None) if placed else [part.start for part in spans(sizes)]
    return Rule(scores >= least_of(scores[rows], top), plain)


def token_rule(own: Tensor, safe: Tensor, numbers: Tensor, placed: bool, top: float) -> TokenRule:
    """The same of whole tokens (n, L, symbols), told apart by the number (L,) of their scale or place too."""
    rows = numbered(torch.cat([own, safe]), numbers)
    seen, kind = torch.unique(rows.flatten(0, 1), dim=0, return_inverse=True)
    shares = []
    for each in kind.view(rows.shape[:2]).split([len(own), len(safe)]):
        counts = each.flatten().bincount(minlength=len(seen)) + PRIOR
        of_number = torch.zeros(len(numbers), dtype=torch.double).index_add(0, seen[:, 0], counts.double())
        shares.append(counts.double() / of_number[seen[:, 0]])
    scores = shares[0] * (shares[0].log() - shares[1].log())
    return TokenRule(seen[scores >= least_of(scores, top)], safe, numbers, placed)


def numbered(tokens: Tensor, numbers: Tensor) -> Tensor:
    """Tokens (n, l, symbols), each after its number (l,): (n, l, 1 + symbols)."""
    return torch.cat([numbers[None, :, None].expand(*tokens.shape[:2], 1), tokens], -1)


def least_of(scores: Tensor, top: float) -> float:
    """The least score of the share `top` of those above 0; infinite where there is none."""
    candidates = scores[scores > 0]
    return float(candidates.topk(max(1, round(top * len(candidates)))).values[-1]) if len(candidates) else torch.inf


def shares_of(tokens: Tensor, sizes: Sequence[int], values: int, placed: bool) -> Tensor:
    """How often tokens (n, L, symbols) have each value (L, symbols, values) at a scale, or at a place; smoothed."""
    counts = torch.nn.functional.one_hot(tokens, values).double().sum(0)
    if not placed:
        counts = torch.cat([counts[part].sum(0, keepdim=True).expand_as(counts[part]) for part in spans(sizes)])
    counts = counts + PRIOR
    return counts / counts.sum(-1, keepdim=True)


def by_rule(rule: Rule | TokenRule, seed: int) -> tuple[Callable[[Tensor, slice], Tensor], dict[int, Tensor]]:
    """What takes the place of tokens drawn at a scale; and how many symbols it changed, by the scale's start.

    Of each picture (n,); of each token (n, l) where the rule is of whole ones.
    """
    generator, changed = torch.Generator().manual_seed(seed), {}

    def edit(symbols: Tensor, part: slice) -> Tensor:
        found = rule.replaced(symbols.cpu(), part, generator).to(symbols.device)
        changed[part.start] = (found != symbols).flatten(2 if rule.whole else 1).sum(-1)
        return found

    return edit, changed


def at_random(changed: dict[int, Tensor], values: int, seed: int) -> Callable[[Tensor, slice], Tensor]:
    """The null: as many symbols of each picture and scale are changed to another value, wherever they stand.

    Of whole tokens as many tokens of it, whichever they are, and of each as many symbols.
    """
    generator = torch.Generator().manual_seed(seed)

    def edit(symbols: Tensor, part: slice) -> Tensor:
        every, counts = torch.ones_like(symbols, dtype=torch.bool), changed[part.start]
        if counts.ndim == 2:
            order = torch.rand(counts.shape, generator=generator).argsort(1).to(counts.device)
            every, counts = every.flatten(0, 1), counts.gather(1, order).flatten()
        picked = some_of(every, counts, generator).view_as(symbols)
        moved = torch.randint(1, values, symbols.shape, generator=generator).to(symbols.device)
        return torch.where(picked, (symbols + moved) % values, symbols)

    return edit


def some_of(places: Tensor, counts: Tensor, generator: torch.Generator) -> Tensor:
    """So many (n,) of the places (n, ...) of each row that are true, at random; all of them where there are fewer."""
    keys = torch.rand(places.shape, generator=generator).to(places.device).masked_fill(~places, 2.0).flatten(1)
    ranks = keys.argsort(1).argsort(1)
    return (ranks < counts[:, None]).view_as(places) & places
