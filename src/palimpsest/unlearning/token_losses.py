"""Losses of a next-scale model's tokens, one for each row, and which tokens they keep (Zhong et al. 2026).

Logits are (n, L, symbols, values), tokens (n, L, symbols).
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from palimpsest.models.next_scale import symbol_losses
from palimpsest.models.scales import levels, size_weights, spans
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.streams import Stream

Divisor = Literal["all", "kept"]
ByScale = Literal["equal", "by_size"]
Losses = Callable[[Tensor, slice], Tensor]


def wrong_share(losses: Tensor) -> Tensor:
    """The share of each token's symbols (n, L) that have less than half of the probability, of their losses.

    Of an index, which is one symbol, 1 or 0.
    """
    return (losses.detach() > math.log(2)).float().mean(2)


def token_weights(step: Step, weights: ByScale = "equal", first: int = 0, last: int | None = None) -> Tensor:
    """The weights of tokens (L,), of mean 1, by their scales.

    "equal": each token counts alike, so that the last scales, which have most of them, count most; "by_size": as one
    over the side of its grid, as Infinity is trained. first, last: numbers of the scales that count, from 0 on, both of
    them too; the others count nothing. Raises ValueError where no scale is left.
    """
    pairs = step.forget
    sizes, scale = pairs.quantiser.sizes, levels(pairs.quantiser.sizes)
    last = len(sizes) - 1 if last is None else last
    if not first <= last or first >= len(sizes):
        raise ValueError(f"scales {first} to {last} are none: the model has those from 0 to {len(sizes) - 1}")
    found = torch.ones(len(scale)) if weights == "equal" else size_weights(sizes)
    found = found * ((scale >= first) & (scale <= last))
    return (found * (len(found) / found.sum())).to(pairs.tokens.device)


def token_errors(
    step: Step,
    tokens: Tensor,
    *,
    threshold: float = 0.0,
    divisor: Divisor = "all",
    keep: Tensor | None = None,
    weights: Tensor | None = None,
) -> Losses:
    """Cross-entropy of tokens, of those alone of which a share of the symbols is wrong, `threshold` at least.

    The choice has no gradient; with the threshold 0 every token is kept. divisor: of the sum over a row's tokens: the
    number of all, or of those that are kept. keep (n, L) bool: another choice, in place of the threshold's. weights
    (L,): of tokens, of mean 1 (`token_weights`), by which they are counted too. Logged is the share that is kept, of
    all tokens and by scale.
    """
    kept = torch.zeros(tokens.shape[:2], device=tokens.device)

    def losses(logits: Tensor, rows: slice) -> Tensor:
        found = symbol_losses(logits, tokens[rows])
        kept[rows] = (wrong_share(found) >= threshold).float() if keep is None else keep[rows].float()
        counted = kept[rows] if weights is None else kept[rows] * weights
        # Where nothing is kept the sum is none either.
        count = found.shape[1] if divisor == "all" else counted.sum(1).clamp(min=1e-6)
        if rows.stop >= len(tokens):  # the batch's last part
            log_kept(step, kept)
        return (counted * found.mean(2)).sum(1) / count

    return losses


def contrasts(step: Step) -> Tensor:
    """By how much the concept's word decides each safe token (n, L): what the pretrained network says with it differs.

    That is the divergence from the safe prompt's predictions to the concept's, given the same safe tokens before; the
    mean of a token's symbols, in nats.
    """
    pairs = step.forget
    concept = step.outputs(step.frozen, pairs.asked, pairs.inputs)
    # `divergence` is over the number of values, this is not.
    return pairs.plain.shape[-1] * divergence(pairs.plain.float().log_softmax(-1), concept).mean(2)


def log_kept(step: Step, kept: Tensor) -> None:
    """Log the share of tokens (n, L) that count, of all and by scale."""
    sizes = step.forget.quantiser.sizes
    step.seen["kept"] = float(kept.mean())
    step.seen |= {f"kept_{side}": float(kept[:, part].mean()) for side, part in zip(sizes, spans(sizes), strict=True)}


def divergences(teacher: Tensor, weights: Tensor | None = None) -> Losses:
    """KL(teacher || network) of a symbol over its number of values, as in the release; the mean of all symbols.

    weights (L,): of tokens, of mean 1 (`token_weights`).
    """
    wanted = teacher.float().log_softmax(-1)

    def losses(logits: Tensor, rows: slice) -> Tensor:
        found = divergence(wanted[rows], logits).mean(2)
        return (found if weights is None else found * weights).mean(1)

    return losses


def divergence(wanted: Tensor, logits: Tensor) -> Tensor:
    """KL of log-probabilities (..., values) to those of logits, over the number of values, as torch means it."""
    return (wanted.exp() * (wanted - logits.float().log_softmax(-1))).mean(-1)


def dropped(step: Step, share: float) -> Sequence[Tensor]:
    """Which rows shall have no text, as the last thing that the network takes; nothing where the share is 0."""
    if not share:
        return ()
    drawn = step.random(Stream.DROPPED).random(step.size)[step.places] < share
    return (torch.from_numpy(drawn).to(step.forget.tokens.device),)
