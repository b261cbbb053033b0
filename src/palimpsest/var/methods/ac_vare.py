"""Ablating concepts (Kumari et al. 2023) on VARE: the concept's prompt learns what the pretrained network says of the
safe one, given the safe tokens. As VARE with soft labels, which have no noise of a draw, and no guidance.
"""

from torch import Tensor

from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.token_losses import divergences


def direction(step: Step) -> Tensor:
    """The gradient of the divergence from the safe prompt's predictions to the concept's, at the safe tokens."""
    pairs = step.forget
    return step.gradients_at({"forget": divergences(pairs.plain)}, pairs.asked, pairs.inputs)[0]
