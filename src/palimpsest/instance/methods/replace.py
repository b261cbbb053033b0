"""A negative control: ordinary training on the surrogate in the target's place. The target is never the input."""

from dataclasses import replace

from palimpsest.instance.engine import Step
from palimpsest.instance.projection import Projection, combined


def direction(step: Step, *, projection: Projection = "forget"):
    remember = step.error_gradient("remember", step.remember, step.remember.noise)
    forget = step.error_gradient("forget", replace(step.forget, images=step.surrogate), step.forget.noise)
    step.watch(forget, remember)
    return combined(forget, remember, projection)
