"""SISS without importance sampling (Alberti et al. 2025): a pass for each loss, the same rule for both."""

from palimpsest.instance.engine import Step
from palimpsest.instance.methods.siss import relative_scale


def direction(step: Step, *, fraction: float = 0.1):
    remember = step.error_gradient("remember", step.remember, step.remember.noise)
    forget = step.error_gradient("forget", step.forget, step.forget.noise)
    step.watch(-forget, remember)
    return remember - relative_scale(remember, forget, fraction) * forget
