"""Statistics of seeds: against scipy, against integrals and sums written out, and against what is known of N(0, I)."""

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.spatial.distance
import scipy.stats

from palimpsest.memory import statistics

D = 4 * 5 * 6


def seeds(n: int = 7, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal((n, 4, 5, 6)).astype(np.float32)


def draws(n: int, dimensions: int = D, stretch: float = 1.0, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    """NLLs of seeds of N(0, stretch^2 I), shifted."""
    squares = stretch**2 * np.random.default_rng(seed).chisquare(dimensions, n)
    return dimensions / 2 * math.log(2 * math.pi) + squares / 2 + shift


# Single seeds --------------------------------------------------------------------------------------------------------


def test_the_nll_is_that_of_scipys_normal():
    given = seeds()
    expected = [-scipy.stats.multivariate_normal(np.zeros(D)).logpdf(each.ravel()) for each in given]
    assert statistics.nll(given) == pytest.approx(expected)
    assert statistics.nll(given.reshape(7, -1)) == pytest.approx(expected)
    # Stable Diffusion's latents, numbers of which the source's figures can be checked.
    assert statistics.normal_mean(16384) == pytest.approx(23247.89, abs=0.01)
    assert statistics.normal_sd(16384) == pytest.approx(90.51, abs=0.01)
    assert statistics.nll(np.zeros((1, 4, 64, 64)))[0] == pytest.approx(15055.89, abs=0.01)


def test_the_z_score_is_the_nll_in_standard_deviations_of_the_law():
    given = seeds(scale=1.3)
    expected = (statistics.nll(given) - statistics.normal_mean(D)) / statistics.normal_sd(D)
    assert statistics.z_score(given) == pytest.approx(expected)
    many = statistics.z_score(seeds(4000))
    assert many.mean() == pytest.approx(0, abs=0.06) and many.std() == pytest.approx(1, abs=0.06)


def test_channels_and_neighbours_are_summed_by_hand():
    given = seeds(3, 2.0)
    means, variances = statistics.channel_moments(given)
    for picture in range(3):
        found = []
        for channel in range(4):
            plane = [[float(value) for value in line] for line in given[picture, channel]]
            values = [value for line in plane for value in line]
            mean = sum(values) / 30
            variance = sum((value - mean) ** 2 for value in values) / 30
            assert means[picture, channel] == pytest.approx(mean)
            assert variances[picture, channel] == pytest.approx(variance)
            down = sum((plane[i][j] - mean) * (plane[i + 1][j] - mean) for i in range(4) for j in range(6)) / 24
            across = sum((plane[i][j] - mean) * (plane[i][j + 1] - mean) for i in range(5) for j in range(5)) / 25
            found.append((down + across) / 2 / variance)
        assert statistics.autocorrelation(given)[picture] == pytest.approx(sum(found) / 4)


def test_neighbours_of_white_noise_are_strangers_and_those_of_a_ramp_are_not():
    white = np.random.default_rng(0).standard_normal((50, 4, 16, 16))
    assert abs(statistics.autocorrelation(white).mean() + 1 / 256) < 0.01
    assert statistics.autocorrelation(np.broadcast_to(np.arange(16.0), (1, 4, 16, 16)))[0] > 0.8


def test_kolmogorov_smirnov_is_scipys():
    given = np.concatenate([seeds(4), seeds(2, 0.5), seeds(2) + 1])
    expected = [scipy.stats.kstest(each.ravel().astype(float), "norm").statistic for each in given]
    assert statistics.kolmogorov_smirnov(given) == pytest.approx(expected)


# Geometry ------------------------------------------------------------------------------------------------------------


def test_distances_are_scipys():
    given = seeds()
    cosine, euclidean = statistics.pairwise(given)
    rows = given.reshape(7, -1).astype(float)
    assert cosine == pytest.approx(scipy.spatial.distance.pdist(rows, "cosine"))
    assert euclidean == pytest.approx(scipy.spatial.distance.pdist(rows))
    cosine, euclidean = statistics.to_centre(given[1:], given[0])
    assert cosine == pytest.approx(scipy.spatial.distance.cdist(rows[:1], rows[1:], "cosine")[0])
    assert euclidean == pytest.approx(scipy.spatial.distance.cdist(rows[:1], rows[1:])[0])
    assert statistics.variation(euclidean) == pytest.approx(scipy.stats.variation(euclidean, ddof=1))


# One set and the law -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimensions", [1, 12, 192, 16384])
def test_the_quantiles_are_those_of_chi_squared(dimensions):
    shares = np.array([0.001, 0.2, 0.5, 0.99])
    expected = dimensions / 2 * math.log(2 * math.pi) + scipy.stats.chi2.ppf(shares, dimensions) / 2
    assert statistics.normal_quantile(shares, dimensions) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dimensions", [3, 120, 16384])
@pytest.mark.parametrize(("stretch", "shift"), [(1.0, 0.0), (1.02, 0.0), (0.5, 0.0), (1.0, 4.0), (3.0, 0.0)])
def test_w1_to_the_law_is_the_integral_of_the_gap_of_the_distribution_functions(dimensions, stretch, shift):
    values = draws(9, dimensions, stretch, shift)
    gamma = scipy.stats.gamma(dimensions / 2, loc=dimensions / 2 * math.log(2 * math.pi))
    ordered = np.sort(values)
    edges = [gamma.ppf(1e-14), *ordered, max(gamma.isf(1e-14), ordered[-1])]
    edges[0] = min(edges[0], ordered[0])
    # Pieces between the sample's points, so that the integrand has no jumps; W1 is the area between both functions.
    total = 0.0
    for index, (low, high) in enumerate(itertools.pairwise(edges)):
        crossing = np.clip(gamma.ppf(index / 9), low, high) if 0 < index < 9 else low
        for start, stop in ((low, crossing), (crossing, high)):
            total += abs(scipy.integrate.quad(lambda x, at=index: gamma.cdf(x) - at / 9, start, stop, limit=200)[0])
    assert float(statistics.wasserstein_to_normal(values, dimensions)) == pytest.approx(total, rel=1e-6)


def test_w1_to_the_law_is_the_limit_of_scipys_with_many_draws_of_it():
    values = draws(40, stretch=1.05)
    grid = statistics.normal_quantile((np.arange(200_000) + 0.5) / 200_000, D)
    expected = scipy.stats.wasserstein_distance(values, grid)
    assert float(statistics.wasserstein_to_normal(values, D)) == pytest.approx(expected, rel=1e-4)


def test_w1_to_the_law_moves_with_a_far_set_and_shrinks_with_the_count():
    far = draws(30, shift=500.0)
    assert statistics.wasserstein_to_normal(far + 3, D) - statistics.wasserstein_to_normal(far, D) == pytest.approx(3)
    few, many = statistics.floor(20, D), statistics.floor(80, D)
    assert few.value / many.value == pytest.approx(2, rel=0.1)
    assert few.low < statistics.wasserstein_to_normal(draws(20, seed=3), D) < few.high
    assert few.low < few.value < few.high


# Two sets ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 5), (6, 4), (13, 30), (50, 7)])
def test_w1_of_two_sets_is_scipys(n, m):
    first, second = draws(n), draws(m, stretch=1.1, seed=1)
    expected = scipy.stats.wasserstein_distance(first, second)
    assert float(statistics.wasserstein(first, second)) == pytest.approx(expected)


def test_the_area_counts_pairs_and_ties_half():
    first, second = np.array([3.0, 1.0, 2.0, 2.0]), np.array([2.0, 0.5, 4.0])
    pairs = [(one > other) + (one == other) / 2 for one in first for other in second]
    assert float(statistics.area(first, second)) == pytest.approx(np.mean(pairs))
    assert float(statistics.area(first, first)) == 0.5
    assert float(statistics.area(first + 9, second)) == 1


def test_the_sources_number_is_the_squared_distance_of_two_gaussians():
    first, second = draws(40), draws(25, stretch=1.1, seed=1)
    (m1, s1), (m2, s2) = ((x.mean(), math.sqrt(((x - x.mean()) ** 2).mean())) for x in (first, second))
    assert float(statistics.fitted_distance(first, second)) == pytest.approx((m1 - m2) ** 2 + (s1 - s2) ** 2)
    # Numerically: the squared gap of the Gaussians' quantiles, integrated.
    shares = (np.arange(100_000) + 0.5) / 100_000
    gaps = scipy.stats.norm(m1, s1).ppf(shares) - scipy.stats.norm(m2, s2).ppf(shares)
    assert float(statistics.fitted_distance(first, second)) == pytest.approx((gaps**2).mean(), rel=1e-3)
    many = draws(200_000, seed=5)
    assert statistics.fitted_to_normal(second, D) == pytest.approx(statistics.fitted_distance(second, many), rel=0.02)
    assert statistics.fitted_to_normal(many, D) < 0.01


def test_the_batch_axis_changes_nothing():
    first = np.stack([draws(8, seed=seed) for seed in range(6)]).reshape(2, 3, 8)
    second = np.stack([draws(5, stretch=1.1, seed=seed) for seed in range(6)]).reshape(2, 3, 5)
    whole = statistics.comparison(first, second, D)
    for index in np.ndindex(2, 3):
        single = statistics.comparison(first[index], second[index], D)
        assert {name: values[index] for name, values in whole.items()} == pytest.approx(single)


def test_values_of_one_picture_are_drawn_together():
    first, second = draws(12), draws(20, stretch=1.1, seed=1)
    alike = np.repeat(first[:, None], 4, axis=1)  # says no more than one value of each picture
    one, four = (statistics.compared(values, second, D, draws=200) for values in (first, alike))
    assert {name: tuple(each) for name, each in one.items()} == {
        name: pytest.approx(each) for name, each in four.items()
    }


def test_the_order_of_pictures_changes_nothing():
    first, second = draws(20), draws(30, stretch=1.1, seed=1)
    turned = statistics.comparison(first[::-1], np.roll(second, 7), D)
    assert statistics.comparison(first, second, D) == pytest.approx(turned)


def test_what_is_equal_has_ratio_one_and_what_is_pushed_away_does_not():
    first = draws(50)
    same = statistics.comparison(first, first, D)
    assert (same["w1_ratio"], same["fitted_ratio"], same["w1_difference"], same["w1_between"]) == (1, 1, 0, 0)
    away = statistics.comparison(first + 200, first, D)
    assert away["w1_difference"] == pytest.approx(200, abs=5) and away["auc"] == 1
    assert away["w1_between"] == pytest.approx(200)
    assert away["w1_ratio"] > 50 and away["fitted_ratio"] > 50**2


# Intervals -----------------------------------------------------------------------------------------------------------


def test_intervals_hold_their_value_and_shrink_with_the_pictures():
    widths = []
    for n in (20, 180):
        first, second = draws(n, stretch=1.1), draws(n, seed=1)
        found = statistics.compared(first, second, D, draws=400)
        assert found.keys() == statistics.comparison(first, second, D).keys()
        low, high = found["nll_erased"].low, found["nll_erased"].high
        error = first.std() / math.sqrt(n)
        assert (low, high) == pytest.approx((first.mean() - 1.96 * error, first.mean() + 1.96 * error), abs=0.4 * error)
        assert all(each.low <= each.high for each in found.values())
        assert found["auc"].low < found["auc"].value < found["auc"].high
        widths.append(found["w1_difference"].high - found["w1_difference"].low)
    assert widths[0] / widths[1] == pytest.approx(3, rel=0.3)
    assert found["w1_difference"].low > 0
    assert statistics.compared(first, second, D, draws=50) == statistics.compared(first, second, D, draws=50)


def test_both_sets_are_drawn_anew():
    values, constant = draws(30), np.full(30, statistics.normal_mean(D))
    first = statistics.compared(values, constant, D, draws=200)
    second = statistics.compared(constant, values, D, draws=200)
    for found, moving, still in ((first, "erased", "reference"), (second, "reference", "erased")):
        assert found[f"nll_{moving}"].low < found[f"nll_{moving}"].value < found[f"nll_{moving}"].high
        assert found[f"nll_{still}"].low == pytest.approx(found[f"nll_{still}"].high)


def test_an_interval_of_one_set_is_that_of_its_mean():
    values = draws(100)
    found = statistics.bootstrapped(values, lambda given: given.mean(-1))
    error = values.std() / 10
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(
        (found.value - 1.96 * error, found.value + 1.96 * error), abs=0.2 * error
    )
