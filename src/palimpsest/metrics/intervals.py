"""Uncertainty: intervals and tests over images."""

from collections.abc import Callable

import numpy as np
import scipy  # scipy.stats loads when first used: it takes a second that most steps need not spend


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share (Wilson 1927)."""
    if n == 0:
        return np.nan, np.nan
    z2 = scipy.special.ndtri(0.975) ** 2
    centre = (successes + z2 / 2) / (n + z2)
    half = np.sqrt(z2 * successes * (n - successes) / n + z2**2 / 4) / (n + z2)
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def bootstrap(
    values: np.ndarray, statistic: Callable[[np.ndarray], float] = np.mean, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % bootstrap interval of a statistic; images (axis 0 of values) are resampled whole.

    Its ends are `percentiles`; of fewer than two images nothing is known, and they are NaN.
    """
    rng = np.random.default_rng(seed)
    if len(values) < 2:
        return np.nan, np.nan
    if statistic is np.mean and values.ndim == 1:
        picks = rng.integers(len(values), size=(draws, len(values)))
        estimates = values[picks].mean(1)
    else:
        estimates = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(draws)]
    low, high = np.quantile(estimates, percentiles(len(values)))
    return float(low), float(high)


def percentiles(count: int) -> tuple[float, float]:
    """Which quantiles of a bootstrap's draws are the ends of a 95 % interval, where so many images were resampled.

    The 2.5 and 97.5 % of many images; further out of few, since resampling n of them spreads by sqrt((n - 1) / n) too
    little, and as Student's distribution has longer tails than the normal one ("expanded percentiles", Hesterberg
    2015, section 5.3.2: of a normal mean this is the t interval). Of fewer than two all that was drawn.
    """
    if count < 2:
        return 0.0, 1.0
    ends = student(count) * np.sqrt(count / (count - 1))
    tail = float(scipy.special.ndtr(-ends))
    return tail, 1 - tail


def student(count: float) -> float:
    """How many standard errors of a mean of so many values its 95 % interval reaches to either side."""
    return scipy.special.stdtrit(count - 1, 0.975)


def t_interval(gaps: np.ndarray) -> tuple[float, float, float]:
    """The 95 % t interval of a mean, and the two-sided p value that it is zero; NaN for fewer than two values."""
    if len(gaps) < 2:
        return np.nan, np.nan, np.nan
    mean = gaps.mean()
    error = gaps.std(ddof=1) / np.sqrt(len(gaps))
    half = student(len(gaps)) * error
    p = 2 * scipy.special.stdtr(len(gaps) - 1, -abs(mean / error)) if error > 0 else float(mean == 0)
    return float(mean - half), float(mean + half), float(p)


def detectable(gaps: np.ndarray, power: float = 0.8) -> float:
    """The mean difference that a paired t test at 5 % finds this often, were its pairs to spread as these gaps do.

    The noncentral t distribution's; NaN for fewer than two pairs.
    """
    if len(gaps) < 2:
        return np.nan
    shift = scipy.special.nctdtrinc(len(gaps) - 1, 1 - power, student(len(gaps)))
    return float(shift * gaps.std(ddof=1) / np.sqrt(len(gaps)))


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p value that two paired binary outcomes differ (McNemar 1947), from the discordant counts."""
    if only_first + only_second == 0:
        return 1.0
    lower_tail = scipy.special.bdtr(min(only_first, only_second), only_first + only_second, 0.5)
    return float(min(2 * lower_tail, 1.0))


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """The smallest false discovery rate at which each hypothesis is rejected (Benjamini & Hochberg 1995)."""
    return scipy.stats.false_discovery_control(p, method="bh")


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half."""
    statistic = scipy.stats.mannwhitneyu(positive, negative, method="asymptotic").statistic
    return float(statistic / (len(positive) * len(negative)))
