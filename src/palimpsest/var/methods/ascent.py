"""Gradient ascent: what the concept's prompt draws becomes unlikely. Unbounded, and nothing is kept on purpose."""

from torch import Tensor

from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.token_losses import token_errors


def direction(step: Step) -> Tensor:
    """Minus the gradient of the cross-entropy of the concept's own tokens, given its prompt."""
    pairs = step.forget
    return -step.gradients_at({"forget": token_errors(step, pairs.own)}, pairs.asked, pairs.own_inputs)[0]
