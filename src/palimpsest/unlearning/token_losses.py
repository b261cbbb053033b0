"""Losses of a next-scale model's tokens, one for each row, and which tokens they keep (Zhong et al. 2026).

Logits are (n, L, symbols, values), tokens (n, L, symbols).
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from palimpsest.models.next_scale import symbol_losses
from palimpsest.models.scales import spans
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.streams import Stream

Divisor = Literal["all", "kept"]
Losses = Callable[[Tensor, slice], Tensor]


def wrong_share(losses: Tensor) -> Tensor:
    """The share of each token's symbols (n, L) that have less than half of the probability, of their losses.

    Of an index, which is one symbol, 1 or 0.
    """
    return (losses.detach() > math.log(2)).float().mean(2)


def token_errors(
    step: Step, tokens: Tensor, *, threshold: float = 0.0, divisor: Divisor = "all", keep: Tensor | None = None
) -> Losses:
    """Cross-entropy of tokens, of those alone of which a share of the symbols is wrong, `threshold` at least.

    The choice has no gradient; with the threshold 0 every token is kept. divisor: of the sum over a row's tokens: the
    number of all, or of those that are kept. keep (n, L) bool: another choice, in place of the threshold's. Logged is
    the share that is kept, of all tokens and by scale.
    """
    kept = torch.zeros(tokens.shape[:2], device=tokens.device)

    def losses(logits: Tensor, rows: slice) -> Tensor:
        found = symbol_losses(logits, tokens[rows])
        kept[rows] = (wrong_share(found) >= threshold).float() if keep is None else keep[rows].float()
        count = found.shape[1] if divisor == "all" else kept[rows].sum(1).clamp(min=1)
        log_kept(step, kept)
        return (kept[rows] * found.mean(2)).sum(1) / count

    return losses


def log_kept(step: Step, kept: Tensor) -> None:
    """Log the share of tokens (n, L) that count, of all and by scale."""
    sizes = step.forget.quantiser.sizes
    step.seen["kept"] = float(kept.mean())
    step.seen |= {f"kept_{side}": float(kept[:, part].mean()) for side, part in zip(sizes, spans(sizes), strict=True)}


def divergences(teacher: Tensor) -> Losses:
    """KL(teacher || network) of a symbol over its number of values, as in the release; the mean of all symbols."""
    wanted = teacher.float().log_softmax(-1)

    def losses(logits: Tensor, rows: slice) -> Tensor:
        return divergence(wanted[rows], logits).mean((1, 2))

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
