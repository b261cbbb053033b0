"""Descent on what is remembered, ascent on the target: grad L_r - alpha grad L_f."""

from palimpsest.instance.engine import Step


def direction(step: Step, *, alpha: float = 1.0):
    remember = step.error_gradient("remember", step.remember, step.remember.noise)
    forget = step.error_gradient("forget", step.forget, step.forget.noise)
    step.watch(-forget, remember)
    return remember - alpha * forget
