"""Descent on what is remembered, ascent on the target: grad L_r - alpha grad L_f."""

from torch import Tensor

from palimpsest.unlearning.engine import Step


def direction(step: Step, *, alpha: float = 1.0) -> Tensor:
    """grad L_r - alpha grad L_f, to descend along; the logged cosine is that of -grad L_f and grad L_r.

    alpha: weight of the ascent against the descent, without unit. Default 1: no source gives one.
    """
    remember = step.error_gradient("remember", step.remember, step.remember.noise)
    forget = step.error_gradient("forget", step.forget, step.forget.noise)
    step.watch(-forget, remember)
    return remember - alpha * forget
