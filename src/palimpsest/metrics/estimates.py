"""Statistics of two sets, and of pairs of values, with their intervals over pictures, or whatever else is counted.

A statistic takes (..., n) of each: whatever stands before is a batch of bootstrap draws.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy  # scipy.stats loads when first used

from palimpsest.metrics.intervals import percentiles, t_interval

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
DRAWS = 1000


class Interval(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


def area(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The chance (...) that one of the first set is above one of the second, ties counting half (AUC)."""
    n, m = first.shape[-1], second.shape[-1]
    ranks = scipy.stats.rankdata(np.concatenate([first, second], -1), axis=-1)[..., :n]
    return (ranks.sum(-1) - n * (n + 1) / 2) / (n * m)


def of_sets(first: np.ndarray, second: np.ndarray, statistic: Statistic = area, seed: int = 0) -> Interval:
    """A statistic of values (n,) and (m,) of two sets, the AUC unless given; the pictures of both are drawn anew."""
    rng = np.random.default_rng(seed)
    drawn = [values[rng.integers(len(values), size=(DRAWS, len(values)))] for values in (first, second)]
    return _interval(statistic(first, second), statistic(*drawn), min(len(first), len(second)))


def of_pairs(first: np.ndarray, second: np.ndarray, statistic: Statistic, seed: int = 0) -> Interval:
    """A statistic of two values (n,) of each picture; the pictures are drawn anew."""
    picks = np.random.default_rng(seed).integers(len(first), size=(DRAWS, len(first)))
    return _interval(statistic(first, second), statistic(first[picks], second[picks]), len(first))


def of_mean(values: np.ndarray) -> Interval:
    """A mean (n,) with its t interval: not a number for a single value."""
    low, high, _ = t_interval(values)
    return Interval(float(np.mean(values)), low, high)


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The rank correlation (...) of values (..., n); not a number where one of them is constant."""
    ranks = [scipy.stats.rankdata(values, axis=-1) for values in (first, second)]
    ranks = [each - each.mean(-1, keepdims=True) for each in ranks]
    lengths = np.sqrt(np.prod([(each**2).sum(-1) for each in ranks], axis=0))
    with np.errstate(invalid="ignore"):
        return (ranks[0] * ranks[1]).sum(-1) / lengths


def _interval(value: np.ndarray, spread: np.ndarray, count: int) -> Interval:
    """A value with the 95 % of what its draws of so many pictures gave, those that are not numbers left out."""
    finite = spread[np.isfinite(spread)]
    low, high = np.quantile(finite, percentiles(count)) if len(finite) else (np.nan, np.nan)
    return Interval(float(value), float(low), float(high))
