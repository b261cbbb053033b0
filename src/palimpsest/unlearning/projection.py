"""Gradient surgery: what is left of one gradient when its conflict with another is taken out."""

from typing import Literal

from torch import Tensor

Projection = Literal["none", "forget", "remember", "both"]


def without_conflict(gradient: Tensor, other: Tensor) -> Tensor:
    """The gradient, and where it points against the other, its part at right angles to it (Yu et al. 2020).

    Flat gradients of the same length; the dot product is taken in float64, since it sums millions of small terms.
    """
    product = gradient.double() @ other.double()
    length = other.double() @ other.double()
    if product >= 0 or length == 0:
        return gradient
    return gradient - (product / length).to(gradient.dtype) * other


def combined(forget: Tensor, remember: Tensor, projection: Projection, parts: list[slice] | None = None) -> Tensor:
    """The sum of both gradients, `projection` naming the one whose conflict is removed first (Lee et al., eqs. 12, 13).

    parts: slices of the flat gradients that are projected each for itself (the layers), or None for the whole.
    """
    if projection not in ("none", "forget", "remember", "both"):
        raise ValueError(f"projection is {projection!r}: give none, forget, remember or both")
    result = forget + remember
    for part in parts or [slice(None)]:
        one, two = forget[part], remember[part]
        changed_one = without_conflict(one, two) if projection in ("forget", "both") else one
        changed_two = without_conflict(two, one) if projection in ("remember", "both") else two
        result[part] = changed_one + changed_two
    return result
