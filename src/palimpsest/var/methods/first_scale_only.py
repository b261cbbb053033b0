"""Erasing at the first scale alone, the idea of SACE (Yang et al. 2026): a concept is said to be decided there.

The concept's prompt learns the safe tokens of the first scales, and of no others. Before the first scale nothing is
drawn, so that one needs no choice of a context. What holds the other prompts is a divergence at the same scales. Of the
source the abstract is known, no formula: an erasure regularised by entropy, and a preservation that restores. A plain
cross-entropy stands for the first, without its regularisation, and the divergence for the second.
"""

from torch import Tensor

from palimpsest.options import Positive, Size
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.token_losses import divergences, token_errors, token_weights


def direction(step: Step, *, scales: Positive = 1, weight: Size = 1.0) -> Tensor:
    """The gradient of the cross-entropy of the first scales' safe tokens, and of the others' divergence there.

    scales: how many; weight: of the divergence, without unit. Default of scales: the source's; of weight: ours.
    """
    pairs, others, weights = step.forget, step.remember, token_weights(step, last=scales - 1)
    losses = token_errors(step, pairs.tokens, weights=weights)
    found = step.gradients_at({"forget": losses}, pairs.asked, pairs.inputs)[0]
    if weight:
        held = step.gradients_at({"remember": divergences(others.plain, weights)}, others.safe, others.inputs)[0]
        step.watch(found, held)
        found = found + weight * held
    return found
