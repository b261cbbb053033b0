"""Gradient ascent on the target's loss (NegGrad, as in Golatkar et al. 2020 and the SISS scripts). Unbounded."""

from torch import Tensor

from palimpsest.unlearning.engine import Step


def direction(step: Step, *, factor: float = 1.0) -> Tensor:
    """Minus `factor` times the forget gradient: descending along it raises the target's loss.

    factor: without unit; the SISS scripts name 3, which the clip to length 1 cancels. Default 1: plain ascent.
    """
    return -factor * step.error_gradient("forget", step.forget, step.forget.noise)
