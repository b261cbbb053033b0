"""EraseAnything (Gao et al. 2025), which erases from transformers of text and picture: the terms that carry over.

The concept's prompt is led away from itself, as ESD does it, at some scales alone, as the source does at some layers'
and times' predictions; pictures' tokens shall not look at the words that name the concept; and other prompts hold what
they say. The source's reverse contrast of words is left out, since a language model has to name words for it, and so
are its two levels: here one sum is descended along. It trains adapters of the attention; what is trained here the
family chooses.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from palimpsest.models.next_scale import CrossAttention
from palimpsest.options import Count, Size
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.token_losses import Losses, divergences, token_weights
from palimpsest.var.methods.esd_tokens import away_from_concept


def direction(
    step: Step,
    *,
    eta: Size = 1.0,
    first_scale: Count = 2,
    last_scale: Count = 4,
    attention_weight: Size = 1.0,
    wide_weight: Size = 1.0,
) -> Tensor:
    """The gradient of the divergence from the logits that lead away, of attention to the concept, and of the others.

    Needs conditioning with named tokens. eta: as `esd_tokens` has it; first_scale, last_scale: numbers of the scales
    that are led away, from 0 on; attention_weight, wide_weight: of the other two terms, without unit. Default of eta:
    ESD's; of the others: ours. Logged is the share of attention that the concept's words have.
    """
    pairs, others, inputs = step.forget, step.remember, step.forget.own_inputs
    conditioning = step.conditioning
    named = conditioning.part("named")[conditioning.rows_of(pairs.asked)]
    away = divergences(away_from_concept(step, eta, inputs), token_weights(step, first=first_scale, last=last_scale))
    with attention_of(step.network) as shares:
        losses = {"forget": away, "attention": attention_to(named, shares)}
        led, unseen = step.gradients_at(losses, pairs.asked, inputs)
    found = led + attention_weight * unseen
    if wide_weight:
        held = step.gradients_at({"remember": divergences(others.plain)}, others.safe, others.inputs)[0]
        step.watch(found, held)
        found = found + wide_weight * held
    return found


@contextmanager
def attention_of(network: nn.Module) -> Iterator[dict[nn.Module, Tensor]]:
    """Each block's attention to the words (n, heads, L, w), of the network's last forward. Raises ValueError for none.

    A model of classes has no words.
    """
    shares: dict[nn.Module, Tensor] = {}

    def watch(module: CrossAttention, given: tuple[Tensor, ...]) -> None:
        shares[module] = module.shares(*given)

    hooks = [each.register_forward_pre_hook(watch) for each in network.modules() if isinstance(each, CrossAttention)]
    if not hooks:
        raise ValueError("the network has no cross-attention: it takes classes, not texts")
    try:
        yield shares
    finally:
        for hook in hooks:
            hook.remove()


def attention_to(named: Tensor, shares: dict[nn.Module, Tensor]) -> Losses:
    """The share of all blocks' and tokens' attention that goes to the named words (n, w) of each row."""

    def losses(logits: Tensor, rows: slice) -> Tensor:
        every = torch.stack(list(shares.values()))
        return (every * named[rows, None, None]).sum(-1).mean((0, 2, 3))

    return losses
