"""Naive fine-tuning: the concept's prompt learns the safe tokens where it draws its own, as a diffusion model would.

At every scale the network sees what the concept's prompt has drawn so far, and should say what the safe prompt draws.
"""

from torch import Tensor

from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.token_losses import token_errors


def direction(step: Step) -> Tensor:
    """The gradient of the cross-entropy of the safe tokens, given the concept's prompt and its own tokens."""
    pairs = step.forget
    return step.gradients_at({"forget": token_errors(step, pairs.tokens)}, pairs.asked, pairs.own_inputs)[0]
