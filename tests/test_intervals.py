"""Uncertainty against textbook values, and measurements that survive writing and reading."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palimpsest.metrics import measurements
from palimpsest.metrics.intervals import (
    auc,
    benjamini_hochberg,
    bootstrap,
    detectable,
    mcnemar,
    percentiles,
    t_interval,
    wilson,
)

# A busy machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_wilson_is_the_published_interval():
    # Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20 and 1 of 29.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_wilson_of_nothing_is_unknown():
    assert np.isnan(wilson(0, 0)).all()


@pytest.mark.parametrize("kind", [np.array, pd.Series], ids=["array", "series"])
def test_a_share_is_a_measurement_with_its_interval_and_of_nothing_no_number(kind):
    found = measurements.share_of("kept", kind([True, False, True, True]), concept="church")
    low, high = wilson(3, 4)
    assert found == {"metric": "kept", "value": 0.75, "low": low, "high": high, "n": 4, "concept": "church"}
    nothing = measurements.share_of("kept", kind([], dtype=bool))
    assert nothing["n"] == 0 and np.isnan([nothing[key] for key in ("value", "low", "high")]).all()


def test_benjamini_hochberg_rejects_the_four_of_the_published_example():
    # Benjamini & Hochberg 1995, section 3.2: fifteen p values, four are rejected at 0.05.
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.759,
        1,
    ]
    q = benjamini_hochberg(np.array(p))
    assert (q <= 0.05).sum() == 4
    assert q[3] == pytest.approx(0.0095 * 15 / 4)


@unhurried
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.randoms())
def test_benjamini_hochberg_follows_its_definition_in_any_order(p, random):
    random.shuffle(p)
    p = np.array(p)
    ranked = np.sort(p)
    brute = [min(ranked[j] * len(p) / (j + 1) for j in range(len(p)) if ranked[j] >= value) for value in p]
    assert benjamini_hochberg(p) == pytest.approx(np.minimum(brute, 1))


def test_mcnemar_is_the_exact_binomial_test():
    assert mcnemar(0, 0) == 1
    assert mcnemar(0, 6) == pytest.approx(2 / 2**6)
    assert mcnemar(10, 10) == pytest.approx(1)
    assert mcnemar(1, 9) == mcnemar(9, 1) == pytest.approx(2 * 11 / 2**10)


@unhurried
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_auc_is_the_chance_of_winning(positive, negative):
    wins = [(a > b) + (a == b) / 2 for a in positive for b in negative]
    assert auc(np.array(positive, float), np.array(negative, float)) == pytest.approx(np.mean(wins))


def test_bootstrap_covers_the_mean_nearly_as_often_as_it_says():
    rng = np.random.default_rng(0)
    samples = rng.normal(3, 2, (300, 80))
    hits = [
        low <= 3 <= high for low, high in (bootstrap(sample, draws=300, seed=i) for i, sample in enumerate(samples))
    ]
    assert 0.90 <= np.mean(hits) <= 0.98


@pytest.mark.parametrize("count", [6, 8, 16])
def test_bootstrap_of_few_covers_as_a_t_interval_does(count):
    """The plain percentiles of 6 normal values cover 85 % of the time, of 8 they cover 88 %."""
    samples = np.random.default_rng(count).normal(3, 2, (1500, count))
    ends = np.array([bootstrap(sample, seed=i) for i, sample in enumerate(samples)])
    exact = np.array([t_interval(sample)[:2] for sample in samples])
    hits = (ends[:, 0] <= 3) & (ends[:, 1] >= 3)
    assert 0.91 <= hits.mean() <= 0.97
    assert np.mean(ends[:, 1] - ends[:, 0]) == pytest.approx(np.mean(exact[:, 1] - exact[:, 0]), rel=0.1)


def test_percentiles_are_the_usual_ones_of_many_and_further_out_of_few():
    assert percentiles(100_000) == pytest.approx((0.025, 0.975), abs=1e-5)
    # Student's quantile of 9 degrees is 2.262; times sqrt(10 / 9) it is 2.385 standard deviations.
    assert percentiles(10) == pytest.approx((0.00855, 0.99145), abs=2e-5)
    tails = [percentiles(count)[0] for count in (2, 3, 5, 10, 100)]
    assert tails == sorted(tails)
    assert percentiles(1) == (0, 1)


def test_a_detectable_difference_is_found_as_often_as_its_power_says():
    gaps = np.random.default_rng(0).normal(0, 1, 6)
    gaps = (gaps - gaps.mean()) / gaps.std(ddof=1)
    rng = np.random.default_rng(1)
    for power in (0.5, 0.8):
        found = rng.normal(detectable(gaps, power), 1, (4000, 6))
        assert np.mean([t_interval(sample)[2] < 0.05 for sample in found]) == pytest.approx(power, abs=0.025)
    # Ten pairs find a difference of one standard deviation (Cohen 1988, as G*Power computes it: 0.9962).
    ten = np.random.default_rng(2).normal(0, 1, 10)
    assert detectable(3 * ten / ten.std(ddof=1)) == pytest.approx(3 * 0.9962, rel=1e-3)
    assert np.isnan(detectable(np.array([1.0])))


def test_bootstrap_resamples_rows_whole():
    values = np.repeat(np.arange(4.0)[:, None], 50, axis=1)  # every row is constant: 50 columns tell no more than one
    wide = bootstrap(values, statistic=lambda part: part.mean(), draws=400, seed=1)
    assert wide[1] - wide[0] > 1
    assert bootstrap(values, statistic=lambda part: np.ptp(part, axis=1).max()) == (0, 0)


def test_bootstrap_is_repeatable_and_nothing_has_no_interval():
    values = np.arange(20.0)
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3) != bootstrap(values, seed=4)
    assert np.isnan(bootstrap(np.array([]))).all()
    assert np.isnan(bootstrap(np.array([1.0]))).all()


def test_measurements_come_back_with_their_variant(tmp_path):
    rows = [
        measurements.row("share", 0.25, 0.1, 0.4, 20, method="fixed", preset="legacy", unit="2x2"),
        measurements.row("share", 0.5, method="random", set="other", seed=3),
    ]
    measurements.write(tmp_path / "a.parquet", rows, family="lcr", model="tiny", set="test")
    stored = pd.read_parquet(tmp_path / "a.parquet")
    assert tuple(stored.columns) == measurements.COLUMNS
    assert stored["variant"].tolist() == ['{"preset": "legacy", "unit": "2x2"}', "{}"]
    assert stored["set"].tolist() == ["test", "other"]
    table = measurements.read([tmp_path / "a.parquet", tmp_path / "a.parquet"])
    chosen = measurements.select(table, metric="share", unit="2x2", method="fixed")
    assert len(chosen) == 2
    assert chosen["value"].tolist() == [0.25, 0.25]
    assert chosen["n"].tolist() == [20, 20]
    assert np.isnan(table["low"][1])
    assert len(measurements.select(table, seed=3)) == 2
    assert measurements.select(table, no_such_label="x").empty


def test_labels_hold_any_text(tmp_path):
    labels = {"prompt": "Van Gogh", "setting": "a=b c", "said": '"‘ {}', "empty": "", "top": 5, "distilled": True}
    rows = [measurements.row("m", 1, **labels), measurements.row("m", 2)]
    measurements.write(tmp_path / "a.parquet", rows, family="f", model="x")
    first, second = measurements.read([tmp_path / "a.parquet"]).to_dict("records")
    assert {name: first[name] for name in labels} == {name: str(value) for name, value in labels.items()}
    assert {second[name] for name in labels} == {""}
    assert len(measurements.select(measurements.read([tmp_path / "a.parquet"]), prompt="Van Gogh", top=5)) == 1


def test_measurements_do_not_depend_on_the_order_of_labels(tmp_path):
    measurements.write(tmp_path / "a.parquet", [measurements.row("m", 1, b="2", a="1")], family="f", model="x")
    measurements.write(tmp_path / "b.parquet", [measurements.row("m", 1, a="1", b="2")], model="x", family="f")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
