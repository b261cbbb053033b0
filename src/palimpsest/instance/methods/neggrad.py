"""Gradient ascent on the target's loss (NegGrad, as in Golatkar et al. 2020 and the SISS scripts). Unbounded."""

from palimpsest.instance.engine import Step


def direction(step: Step, *, factor: float = 1.0):
    return -factor * step.error_gradient("forget", step.forget, step.forget.noise)
