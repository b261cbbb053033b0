"""Go on training on everything but the target: what fine-tuning alone does, without any unlearning."""

from torch import Tensor

from palimpsest.unlearning.engine import Step


def direction(step: Step) -> Tensor:
    """The gradient of the remember loss, to descend along. No settings."""
    return step.error_gradient("remember", step.remember, step.remember.noise)
