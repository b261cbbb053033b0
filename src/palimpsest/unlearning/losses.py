"""Losses that methods share, as `Step.gradient` takes them: losses(predicted, rows) gives one loss a row, (n,)."""

from collections.abc import Callable

from torch import Tensor


def squared_errors(wanted: Tensor, weights: Tensor | None = None) -> Callable[[Tensor, slice], Tensor]:
    """Mean squared errors to what should be predicted (n, c, h, w), each row weighted (n,)."""

    def losses(predicted: Tensor, rows: slice) -> Tensor:
        errors = (predicted - wanted[rows]).square().mean((1, 2, 3))
        return errors if weights is None else weights[rows] * errors

    return losses
