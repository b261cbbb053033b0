"""Scissorhands (Wu and Harandi 2024): weights that matter most for the concept start anew, then the network relearns.

What matters is |theta dL/dtheta| (SNIP, Lee et al. 2019), L being the denoising loss of pictures of the concept, summed
over batches. Afterwards the network descends along L_r + lambda |eps(x_t, c) - sg eps(x_t, c')|^2: c' is a picture's
prompt without the concept, L_r the denoising loss of other pictures. In the paper such an update is projected so that
it never leads back to the concept; the release has the projection's code, with a margin, and does not call it.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from palimpsest.options import Positive, Share, Size
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.pairs import toward_anchors
from palimpsest.unlearning.projection import without_conflict
from palimpsest.unlearning.saliency import forget_batches, top
from palimpsest.unlearning.selectors import SELF
from palimpsest.unlearning.streams import Stream

Where = Literal["self_attention", "anywhere"]


def direction(
    step: Step,
    *,
    share: Share = 0.005,
    batches: Positive = 10,
    where: Where = "self_attention",
    weight: Size = 0.1,
    projection: bool = False,
) -> Tensor:
    """The gradient of the remember loss plus `weight` times that of the forget loss, to descend along.

    Needs conditioning with anchors, and targets whose conditions are rows of the concept's. share: of the trained
    weights that are the most salient over so many batches; where: which of them start anew. weight: lambda, without
    unit. projection: the update has no negative product with the forget gradient. Defaults: the release's for nudity
    (its share for objects is 0.001, at twice the rate); of all self-attention, it restarts that of two blocks of the
    decoder only.
    """
    if "restarted" not in step.memory:
        step.memory["restarted"] = restart(step, share, batches, where)
    step.seen["restarted"] = step.memory["restarted"]
    remember = step.error_gradient("remember", step.remember, step.remember.noise)
    forget = toward_anchors(step)
    step.watch(forget, remember)
    both = remember + weight * forget
    return without_conflict(both, forget) if projection else both


def restart(step: Step, share: float, batches: int, where: Where) -> int:
    """Start the most salient weights anew, in place; how many they are. Raises ValueError where none could be."""
    names = [name for name, parameter in step.network.named_parameters() if parameter.requires_grad]
    if where == "self_attention" and not any(SELF in name for name in names):
        raise ValueError("no self-attention is trained, so that none of it can start anew: train it, or give anywhere")
    chosen, values = top(saliency(step, batches), share), step.parameters.values
    generator = torch.Generator().manual_seed(step.context.number(Stream.RESTART))
    count = 0
    for name, part in zip(names, step.parameters.parts, strict=True):
        new = fresh(name, step.network.get_parameter(name).shape, generator).to(values.device).reshape(-1)
        if where == "anywhere" or SELF in name:
            values[part] = torch.where(chosen[part], new, values[part])
            count += int(chosen[part].sum())
    return count


def saliency(step: Step, batches: int) -> Tensor:
    """|theta dL/dtheta| of every trained weight, summed over batches of targets."""
    total = torch.zeros_like(step.parameters.values)
    for batch in forget_batches(step, batches):
        total += step.error_gradient("saliency", batch, batch.noise).abs()
    return total * step.parameters.values.abs()


def fresh(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """What a parameter starts from: zero for biases, one for the factors of a normalisation, else He et al. (2015)."""
    if name.endswith("bias"):
        return torch.zeros(shape)
    if len(shape) < 2:
        return torch.ones(shape)
    return nn.init.kaiming_uniform_(torch.empty(shape), generator=generator)
