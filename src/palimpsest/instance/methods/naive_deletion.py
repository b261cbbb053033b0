"""Go on training on everything but the target: what fine-tuning alone does, without any unlearning."""

from palimpsest.instance.engine import Step


def direction(step: Step):
    return step.error_gradient("remember", step.remember, step.remember.noise)
