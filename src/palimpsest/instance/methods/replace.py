"""A negative control: ordinary training on the surrogate in the target's place. The target is never the input."""

from dataclasses import replace

from torch import Tensor

from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.projection import Projection, combined


def direction(step: Step, *, projection: Projection = "forget") -> Tensor:
    """The sum of the gradients of ordinary losses on remembered images and on surrogates, to descend along.

    projection: which conflict is taken out first, as in `unpromptable`.
    """
    remember = step.error_gradient("remember", step.remember, step.remember.noise)
    forget = step.error_gradient("forget", replace(step.forget, images=step.surrogate), step.forget.noise)
    step.watch(forget, remember)
    return combined(forget, remember, projection)
