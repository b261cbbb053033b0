"""SISS without importance sampling (Alberti et al. 2025): a pass for each loss, the same rule for both."""

from torch import Tensor

from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.methods.siss import relative_scale


def direction(step: Step, *, fraction: float = 0.1) -> Tensor:
    """G_x - s G_a, to descend along. fraction: |s G_a| / |G_x|; its default is that of `siss`."""
    remember = step.error_gradient("remember", step.remember, step.remember.noise)
    forget = step.error_gradient("forget", step.forget, step.forget.noise)
    step.watch(-forget, remember)
    return remember - relative_scale(remember, forget, fraction) * forget
