"""How likely seeds are under N(0, I): each one, and sets of them against each other and against the exact law.

Seeds are (n, c, h, w) with d numbers each, or (n, d) where no place is asked for; values are in nats, summed over the
coordinates, not averaged. The negative log-likelihood is a function of the squared norm and of nothing else:
(d / 2) log 2 pi + |z|^2 / 2. Under N(0, I) it is (d / 2) log 2 pi + chi2_d / 2, with the mean (d / 2)(1 + log 2 pi) and
the standard deviation sqrt(d / 2). Statistics of sets take (..., n): whatever stands before is a batch, of bootstrap
draws, say.
"""

from collections.abc import Callable

import numpy as np
from scipy import special

from palimpsest.metrics.estimates import Interval, area
from palimpsest.metrics.intervals import percentiles

LOG_2_PI = float(np.log(2 * np.pi))


# Single seeds --------------------------------------------------------------------------------------------------------


def flat(seeds: np.ndarray) -> np.ndarray:
    """(n, d), float64."""
    return np.asarray(seeds, np.float64).reshape(len(seeds), -1)


def nll(seeds: np.ndarray) -> np.ndarray:
    """-log N(z; 0, I) in nats (n,)."""
    rows = flat(seeds)
    return rows.shape[1] / 2 * LOG_2_PI + (rows**2).sum(1) / 2


def z_score(seeds: np.ndarray) -> np.ndarray:
    """(|z|^2 - d) / sqrt(2 d), (n,): of mean 0 and variance 1 under N(0, I)."""
    rows = flat(seeds)
    return ((rows**2).sum(1) - rows.shape[1]) / np.sqrt(2 * rows.shape[1])


def channel_moments(seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each channel of each seed, (n, c) each."""
    planes = np.asarray(seeds, np.float64)
    return planes.mean((2, 3)), planes.var((2, 3))


def autocorrelation(seeds: np.ndarray) -> np.ndarray:
    """Correlation of neighbours, across and down, averaged over both and over channels (n,); about 0 for white noise.

    Of each channel less its mean: the mean product over pairs of neighbours, over the channel's variance.
    """
    planes = np.asarray(seeds, np.float64)
    planes = planes - planes.mean((2, 3), keepdims=True)
    down = (planes[:, :, 1:] * planes[:, :, :-1]).mean((2, 3))
    across = (planes[..., 1:] * planes[..., :-1]).mean((2, 3))
    return ((down + across) / 2 / planes.var((2, 3))).mean(1)


def kolmogorov_smirnov(seeds: np.ndarray) -> np.ndarray:
    """Largest distance (n,) of the distribution function of a seed's coordinates to that of N(0, 1)."""
    ordered = np.sort(flat(seeds), axis=1)
    below, d = special.ndtr(ordered), ordered.shape[1]
    steps = np.arange(d + 1) / d
    return np.maximum((steps[1:] - below).max(1), (below - steps[:-1]).max(1))


# Geometry ------------------------------------------------------------------------------------------------------------


def pairwise(seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine distance 1 - cos and Euclidean distance of each pair (i < j), (n (n - 1) / 2,) each.

    For scale: two draws of N(0, I) are at about 1, and at about sqrt(2 d).
    """
    rows = flat(seeds)
    products = rows @ rows.T
    squares = products.diagonal()
    one, other = np.triu_indices(len(rows), 1)
    lengths = np.sqrt(squares[one] * squares[other])
    return 1 - products[one, other] / lengths, np.linalg.norm(rows[one] - rows[other], axis=1)


def to_centre(seeds: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and Euclidean distance (n,) of seeds to one, such as the query picture's own (c, h, w)."""
    rows, point = flat(seeds), flat(np.asarray(centre)[None])[0]
    cosine = rows @ point / (np.linalg.norm(rows, axis=1) * np.linalg.norm(point))
    return 1 - cosine, np.linalg.norm(rows - point, axis=1)


def variation(distances: np.ndarray) -> float:
    """Coefficient of variation, sd / mean (sample sd): small on a sphere, and in many dimensions on any cloud."""
    return float(np.std(distances, ddof=1) / np.mean(distances))


# The law of N(0, I) --------------------------------------------------------------------------------------------------


def normal_mean(dimensions: int) -> float:
    """The mean NLL of N(0, I) in so many dimensions."""
    return dimensions / 2 * (1 + LOG_2_PI)


def normal_sd(dimensions: int) -> float:
    """The standard deviation of the NLL of N(0, I)."""
    return float(np.sqrt(dimensions / 2))


def normal_quantile(share: np.ndarray, dimensions: int) -> np.ndarray:
    """The NLL of N(0, I) below which a share of draws lies."""
    return dimensions / 2 * LOG_2_PI + special.gammaincinv(dimensions / 2, share)


def wasserstein_to_normal(values: np.ndarray, dimensions: int) -> np.ndarray:
    """Exact 1-Wasserstein distance (...) of NLLs (..., n) to their law under N(0, I), in nats.

    The integral over shares p of |Q_n(p) - Q(p)|, the quantiles of the sample and of the law. Each of the n pieces has
    a constant Q_n = x, which Q crosses once at most, and the integral of Q is closed: Y = NLL - (d / 2) log 2 pi is
    Gamma(d / 2), and that of Q_Y up to p is (d / 2) P(d / 2 + 1, Q_Y(p)), P the regularised incomplete gamma function.
    """
    half = dimensions / 2
    ordered = np.sort(np.asarray(values, np.float64), axis=-1) - half * LOG_2_PI
    edges = np.linspace(0, 1, ordered.shape[-1] + 1)
    quantiles = special.gammaincinv(half, edges)
    crossing = np.clip(ordered, quantiles[:-1], quantiles[1:])
    share, mass = special.gammainc(half, crossing), half * special.gammainc(half + 1, crossing)
    masses = half * special.gammainc(half + 1, quantiles)
    below = ordered * (share - edges[:-1]) - (mass - masses[:-1])  # x above Q
    above = (masses[1:] - mass) - ordered * (edges[1:] - share)
    return (below + above).sum(-1)


# Two sets ------------------------------------------------------------------------------------------------------------


def wasserstein(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """1-Wasserstein distance (...) of samples (..., n) and (..., m): the mean gap of their quantile functions."""
    first, second = np.sort(first, axis=-1), np.sort(second, axis=-1)
    n, m = first.shape[-1], second.shape[-1]
    # Whole numbers: the edges i / n and j / m in units of 1 / (n m).
    edges = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)
    gaps = np.abs(first[..., edges[:-1] // m] - second[..., edges[:-1] // n])
    return gaps @ (np.diff(edges) / (n * m))


def fitted_distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """What Memories of Forgotten Concepts' code calls EMD: (m1 - m2)^2 + (s1 - s2)^2 of samples (..., n), nats^2.

    The squared 2-Wasserstein distance of the two fitted Gaussians (numpy's biased s), without the root.
    """
    return (first.mean(-1) - second.mean(-1)) ** 2 + (first.std(-1) - second.std(-1)) ** 2


def fitted_to_normal(values: np.ndarray, dimensions: int) -> np.ndarray:
    """`fitted_distance` (...) to the law under N(0, I), by its exact mean and standard deviation."""
    return (values.mean(-1) - normal_mean(dimensions)) ** 2 + (values.std(-1) - normal_sd(dimensions)) ** 2


def comparison(erased: np.ndarray, reference: np.ndarray, dimensions: int) -> dict[str, np.ndarray]:
    """All statistics (...) of the NLLs of pictures of the concept (..., n) and of other pictures (..., m).

    w1_ratio is the paper's relative distance d_N in W1, fitted_ratio the same as its code computes it. Both divide by
    how far ordinary pictures are from N(0, I), which can be next to nothing: the difference in nats is stable.
    """
    to_normal = {"erased": wasserstein_to_normal(erased, dimensions)}
    to_normal["reference"] = wasserstein_to_normal(reference, dimensions)
    fitted = {"erased": fitted_to_normal(erased, dimensions), "reference": fitted_to_normal(reference, dimensions)}
    return {
        "nll_erased": erased.mean(-1),
        "nll_reference": reference.mean(-1),
        "w1_erased": to_normal["erased"],
        "w1_reference": to_normal["reference"],
        "w1_between": wasserstein(erased, reference),
        "w1_difference": to_normal["erased"] - to_normal["reference"],
        "w1_ratio": to_normal["erased"] / to_normal["reference"],
        "fitted_erased": fitted["erased"],
        "fitted_reference": fitted["reference"],
        "fitted_between": fitted_distance(erased, reference),
        "fitted_ratio": fitted["erased"] / fitted["reference"],
        "auc": area(erased, reference),
    }


def compared(
    erased: np.ndarray, reference: np.ndarray, dimensions: int, *, draws: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """`comparison` of NLLs (n,) and (m,), each with its interval: the pictures of both sets are drawn anew.

    Of several NLLs of each picture, (n, k), those of one are drawn together.
    """
    rng, both = np.random.default_rng(seed), (erased, reference)
    drawn = [values[rng.integers(len(values), size=(draws, len(values)))].reshape(draws, -1) for values in both]
    values, spread = comparison(erased.ravel(), reference.ravel(), dimensions), comparison(*drawn, dimensions)
    at = percentiles(min(len(erased), len(reference)))
    ends = {name: np.quantile(found, at) for name, found in spread.items()}
    return {name: Interval(float(value), *map(float, ends[name])) for name, value in values.items()}


def bootstrapped(
    values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], *, draws: int = 1000, seed: int = 0
) -> Interval:
    """A statistic of values (..., n) of one set (n,), with its interval over pictures."""
    picks = np.random.default_rng(seed).integers(len(values), size=(draws, len(values)))
    low, high = np.quantile(statistic(values[picks]), percentiles(len(values)))
    return Interval(float(statistic(values)), float(low), float(high))


def floor(count: int, dimensions: int, *, draws: int = 1000, seed: int = 0) -> Interval:
    """W1 to the law of so many draws of N(0, I) themselves: the mean, and the range of 95 %. What no set can beat."""
    rng = np.random.default_rng(seed)
    values = dimensions / 2 * LOG_2_PI + rng.chisquare(dimensions, (draws, count)) / 2
    found = wasserstein_to_normal(values, dimensions)
    return Interval(float(found.mean()), *map(float, np.quantile(found, [0.025, 0.975])))
