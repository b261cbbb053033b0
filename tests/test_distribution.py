"""Distances between sets of pictures against closed forms, plausibility on real features, the t interval."""

import warnings

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT
from palimpsest.judges.batches import in_batches
from palimpsest.judges.face_networks import load
from palimpsest.metrics.distribution import Plausibility, frechet, kernel_distance
from palimpsest.metrics.intervals import t_interval
from palimpsest.worlds import faces


def whitened(n: int, d: int, seed: int) -> np.ndarray:
    """n points whose mean is exactly zero and whose covariance is exactly the identity."""
    values = np.random.default_rng(seed).standard_normal((n, d))
    values -= values.mean(0)
    return values @ np.linalg.inv(np.linalg.cholesky(np.cov(values, rowvar=False))).T


def skewed(n: int, d: int, seed: int) -> np.ndarray:
    """n points with correlated columns of unequal spread."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + rng.standard_normal(d)


# Fréchet distance


@pytest.mark.parametrize("n", [6, 200])
def test_a_set_is_at_no_distance_from_itself_and_at_its_shift_from_the_shifted_set(n):
    # Six points in eight dimensions have a singular covariance.
    values, shift = skewed(n, 8, 0), np.linspace(-1, 2, 8)
    assert frechet(values, values) == pytest.approx(0, abs=1e-4)
    assert frechet(values, values[::-1]) == pytest.approx(0, abs=1e-4)
    assert frechet(values, values + shift) == pytest.approx((shift**2).sum(), abs=1e-4)


def test_scaled_axes_are_as_far_apart_as_their_standard_deviations():
    first, second = np.array([1.0, 2.0, 0.5, 3.0]), np.array([1.0, 0.5, 0.5, 4.0])
    one, two = whitened(300, 4, 0) * first, whitened(500, 4, 1) * second
    wanted = ((first - second) ** 2).sum()
    assert frechet(one, two) == pytest.approx(wanted)
    assert frechet(one + 1, two - 1) == pytest.approx(wanted + 4 * 4)
    rotation = np.linalg.qr(np.random.default_rng(2).standard_normal((4, 4)))[0]
    assert frechet(one @ rotation, two @ rotation) == pytest.approx(wanted)


def test_the_distance_is_symmetric_and_that_of_the_formula():
    for seed in range(5):
        one, two = skewed(80, 6, seed), skewed(60, 6, seed + 100)
        covariances = np.cov(one, rowvar=False), np.cov(two, rowvar=False)
        shared = np.trace(scipy.linalg.sqrtm(covariances[0] @ covariances[1])).real
        gap = ((one.mean(0) - two.mean(0)) ** 2).sum()
        assert frechet(one, two) == pytest.approx(gap + sum(map(np.trace, covariances)) - 2 * shared)
        assert frechet(one, two) == pytest.approx(frechet(two, one))
        assert frechet(one.astype(np.float32), two.astype(np.float32)) == pytest.approx(frechet(one, two), rel=1e-4)


# Kernel distance


def test_the_kernel_distance_is_its_definition():
    one, two = skewed(7, 3, 0), skewed(5, 3, 1)

    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    within = [
        np.mean([kernel(x, y) for i, x in enumerate(values) for j, y in enumerate(values) if i != j])
        for values in (one, two)
    ]
    between = np.mean([kernel(x, y) for x in one for y in two])
    assert kernel_distance(one, two) == pytest.approx(sum(within) - 2 * between)
    # Sets of one point each: k(a, a) + k(b, b) - 2 k(a, b).
    points = np.array([1.0, 2.0]), np.array([0.0, -1.0])
    wanted = 3.5**3 + 1.5**3 - 2 * 0.0**3
    assert kernel_distance(*(np.tile(point, (4, 1)) for point in points)) == pytest.approx(wanted)


@pytest.mark.parametrize("sizes", [(10, 10), (8, 40)])
def test_halves_of_one_sample_are_at_zero_on_average_and_other_sets_are_not(sizes):
    rng = np.random.default_rng(0)
    found = []
    for shift in (0, 1):
        pairs = [rng.standard_normal((sum(sizes), 4)) for _ in range(400)]
        distances = [kernel_distance(pair[: sizes[0]], pair[sizes[0] :] + shift) for pair in pairs]
        found.append((np.mean(distances), np.std(distances) / np.sqrt(len(distances))))
    (equal, error), (apart, its_error) = found
    # The form with each point compared with itself would lie about 1 above.
    assert abs(equal) < 4 * error < 0.5
    assert apart > 4 * its_error and apart > 1


# Plausibility


def test_one_in_a_hundred_of_other_data_is_called_implausible():
    rng, mixing = np.random.default_rng(0), np.diag([1.0, 3.0, 0.3, 2.0, 1.0])
    data, held_out, fresh = (rng.standard_normal((4000, 5)) @ mixing + 7 for _ in range(3))
    found = Plausibility(data, held_out)
    assert found.plausible(held_out).mean() == pytest.approx(0.99, abs=5e-4)
    assert found.plausible(fresh).mean() == pytest.approx(0.99, abs=0.006)
    assert Plausibility(data, held_out, quantile=0.5).plausible(fresh).mean() == pytest.approx(0.5, abs=0.03)
    # The distance of normal data is that of its standardised form, whose square is chi square.
    assert np.median(found.distance(fresh)) == pytest.approx(np.sqrt(scipy.stats.chi2.median(5)), rel=0.03)
    one_out = data.mean(0) + np.eye(5)[2] * 0.3 * 6
    assert found.distance(one_out[None]) == pytest.approx([6], rel=0.05) and not found.plausible(one_out[None])[0]


def test_features_that_never_fire_do_not_make_it_singular():
    data, held_out = skewed(300, 6, 0), skewed(300, 6, 0)[::-1]
    data[:, 3] = held_out[:, 3] = 0
    found = Plausibility(data, held_out)
    assert np.isfinite(found.limit) and found.plausible(held_out).mean() == pytest.approx(0.99, abs=0.01)
    fires = held_out.copy()
    fires[:, 3] = 100
    assert not found.plausible(fires).any()


def test_noise_grain_and_mixtures_are_far_away_and_faces_are_not():
    appearance = load(ROOT / "resources/models/face_attributes.safetensors").appearance
    world, rng = faces.make(2200, 90210, "test").images, np.random.default_rng(0)
    fresh = world[2000:]
    broken = {
        "noise": rng.integers(0, 256, fresh.shape, np.uint8),
        "grain": np.clip(fresh + 60 * rng.standard_normal(fresh.shape), 0, 255).astype(np.uint8),
        "upside down": fresh[:, ::-1],
        "grey": np.full_like(fresh, 128),
    }
    found = Plausibility(*(in_batches(appearance, part) for part in (world[:1000], world[1000:2000])))
    assert found.plausible(in_batches(appearance, fresh)).mean() > 0.95
    for name, pictures in broken.items():
        assert found.plausible(in_batches(appearance, pictures)).mean() < 0.02, name


def test_a_kernel_distance_of_pairs_is_zero_for_equal_sets_and_unbiased_for_independent_ones():
    one, two = (np.random.default_rng(seed).standard_normal((96, 16)) for seed in (0, 1))
    assert kernel_distance(one, one, paired=True) == pytest.approx(0, abs=1e-9)
    assert kernel_distance(one, two, paired=True) == pytest.approx(kernel_distance(one, two), abs=0.02)
    assert kernel_distance(one, two + 1, paired=True) > 0.2


# The t interval


def test_the_t_interval_is_that_of_students_sleep_data():
    # Student 1908: hours of sleep gained; the 95 % interval and p value are those of R's t.test(sleep).
    gained = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    assert t_interval(gained) == pytest.approx((0.7001142, 2.4598858, 0.002833), rel=1e-4)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20))
def test_the_t_interval_excludes_zero_exactly_where_p_is_small(values):
    gaps = np.round(values, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal values: scipy warns of lost precision
        low, high, p = t_interval(gaps)
        assert (low + high) / 2 == pytest.approx(gaps.mean(), abs=1e-9)
        assert 0 <= p <= 1
        if gaps.std() > 1e-6:
            wanted = scipy.stats.ttest_1samp(gaps, 0)
            assert (low, high) == pytest.approx(tuple(wanted.confidence_interval()), rel=1e-9, abs=1e-9)
            assert p == pytest.approx(wanted.pvalue)
            assert (p < 0.05) == (low > 0 or high < 0)


def test_too_few_values_have_no_interval_and_zeros_are_no_difference():
    assert np.isnan(t_interval(np.array([]))).all() and np.isnan(t_interval(np.array([1.0]))).all()
    assert t_interval(np.zeros(5)) == (0, 0, 1)


def test_the_distance_of_few_pictures_is_that_of_their_moments_too():
    """Fewer rows than columns: the same number without a matrix of every pair of columns."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(6, 40)), rng.normal(1, 2, size=(9, 40))
    apart = first.mean(0) - second.mean(0)
    whole = scipy.linalg.sqrtm(np.cov(first, rowvar=False) @ np.cov(second, rowvar=False)).real
    expected = apart @ apart + np.trace(np.cov(first, rowvar=False)) + np.trace(np.cov(second, rowvar=False))
    assert frechet(first, second) == pytest.approx(expected - 2 * np.trace(whole), rel=1e-6)
