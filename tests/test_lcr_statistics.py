"""The statistics of latent codes: closed forms, brute force, invariances, planted signals, refusals, repeatability."""

import itertools
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from palimpsest import run
from palimpsest.lcr import code_stats, codes, cooccurrence, count, localise, score, selection
from palimpsest.lcr.arrays import load_codes, load_masks
from palimpsest.metrics import measurements
from palimpsest.metrics.intervals import auc
from palimpsest.run import UserError

K = 14
LIVE = 12  # codes that the planted sets use
# A busy machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
grids = arrays(
    np.uint16, st.tuples(st.integers(1, 5), st.integers(3, 5), st.integers(3, 5)), elements=st.integers(0, 3)
)


def random_codes(seed: int, images: int = 40, size: int = 8, codebook_size: int = K) -> np.ndarray:
    rng = np.random.default_rng(seed)
    chance = 1 / np.arange(1, codebook_size + 1)
    return rng.choice(codebook_size, size=(images, size, size), p=chance / chance.sum()).astype(np.uint16)


def box_masks(seed: int, images: int = 40, size: int = 8, side: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    masks = np.zeros((images, size, size), bool)
    for mask in masks[1:]:  # the first image has no mask
        row, column = rng.integers(0, size - side + 1, 2)
        mask[row : row + side, column : column + side] = True
    return masks


def planted(seed: int, images: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Codes whose masked cells hold codes 9 to 11 alone, which are nowhere else."""
    grid, masks = random_codes(seed, images, codebook_size=9), box_masks(seed + 1, images)
    grid[masks] = np.random.default_rng(seed).integers(9, 12, masks.sum())
    return grid, masks


@pytest.fixture
def folder(tmp_path):
    """The six arrays of a planted concept."""
    for name, seed in (("fit", 1), ("test", 5)):
        grid, masks = planted(seed)
        np.save(tmp_path / f"forget_{name}.npy", grid)
        np.save(tmp_path / f"masks_{name}.npy", masks)
        np.save(tmp_path / f"safe_{name}.npy", random_codes(seed + 20, codebook_size=9))
    return tmp_path


def run_all(folder) -> dict[str, bytes]:
    """Run every step; the bytes of every output."""
    path = folder.joinpath
    for name in ("forget", "safe"):
        count.count(path(f"{name}_fit.npy"), path("masks_fit.npy"), path(f"{name}.parquet"), codebook_size=K)
    forget, masks, safe = path("forget_fit.npy"), path("masks_fit.npy"), path("safe_fit.npy")
    score.score(
        path("forget.parquet"), path("safe.parquet"), forget, masks, safe, path("scores.parquet"),
        codebook_size=K, prior=10.0, draws=50,
    )  # fmt: skip
    common = {"model": "m", "preset": "p", "codebook_size": K, "draws": 20}
    localise.localise(
        forget, masks, safe, path("forget_test.npy"), path("masks_test.npy"), path("safe_test.npy"),
        path("curves.parquet"), path("localise.parquet"), **common,
    )  # fmt: skip
    code_stats.code_stats(forget, masks, safe, path("codes.parquet"), path("stats.parquet"), set="s", **common)
    cooccurrence.cooccurrence(
        forget, masks, safe, path("pairs.npz"), path("pairs.parquet"), path("patches.parquet"),
        path("cooccurrence.parquet"), min_count=3, ratio=2.5, neighbourhood="8", **common,
    )  # fmt: skip
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix in (".parquet", ".npz")}


def measured(folder, name: str) -> pd.DataFrame:
    return measurements.read([folder / f"{name}.parquet"])


def value_of(table: pd.DataFrame, metric: str, **labels) -> float:
    return measurements.select(table, metric=metric, **labels)["value"].item()


# Codes ---------------------------------------------------------------------------------------------------------------


def test_codes_out_of_range_are_refused_with_the_file_the_code_and_the_codebook(tmp_path):
    grid = random_codes(0)
    grid[-1, -1, -1] = 900
    np.save(tmp_path / "damaged.npy", grid)
    with pytest.raises(UserError, match=r"damaged\.npy: the largest code is 900, but the codebook has 512"):
        load_codes(tmp_path / "damaged.npy", 512)
    assert load_codes(tmp_path / "damaged.npy", 901)[-1, -1, -1] == 900


@pytest.mark.parametrize("wrong", [np.zeros((2, 4, 4), np.int64), np.zeros((4, 4), np.uint16), np.zeros((2, 4, 4))])
def test_arrays_that_are_no_codes_are_refused(tmp_path, wrong):
    np.save(tmp_path / "wrong.npy", wrong)
    with pytest.raises(UserError, match=r"wrong\.npy: codes must be"):
        load_codes(tmp_path / "wrong.npy", K)


def test_damaged_files_and_masks_of_other_images_are_refused(tmp_path):
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match=r"cut\.npy: not a readable"):
        load_codes(tmp_path / "cut.npy", K)
    np.save(tmp_path / "masks.npy", np.zeros((3, 4, 4), bool))
    with pytest.raises(UserError, match=r"masks\.npy: masks must be bool \(2, 4, 4\)"):
        load_masks(tmp_path / "masks.npy", (2, 4, 4))
    with pytest.raises(UserError, match=r"masks\.npy: no mask has a cell"):
        load_masks(tmp_path / "masks.npy", (3, 4, 4), filled=True)


def test_counts_are_those_of_a_loop_also_across_chunks(monkeypatch):
    monkeypatch.setattr(codes, "CHUNK", 50)
    grid, masks = random_codes(3), box_masks(4)
    everywhere = Counter(grid.ravel().tolist())
    inside = Counter(grid[masks].tolist())
    documents = Counter(code for image, mask in zip(grid, masks, strict=True) for code in set(image[mask].tolist()))
    assert codes.count_codes(grid, K).tolist() == [everywhere[k] for k in range(K)]
    assert codes.count_codes(grid, K, masks).tolist() == [inside[k] for k in range(K)]
    assert codes.document_frequency(grid, K, masks).tolist() == [documents[k] for k in range(K)]
    expected = np.stack([np.bincount(image[mask], minlength=K) for image, mask in zip(grid, masks, strict=True)])
    assert (codes.image_histograms(grid, K, masks).toarray() == expected).all()


def test_bootstrap_counts_are_those_of_the_resampled_images():
    grid = random_codes(5)
    weights = codes.resampling_weights(len(grid), 7, np.random.default_rng(0))
    assert (weights.sum(1) == len(grid)).all()
    drawn = codes.resampled_counts(codes.image_histograms(grid, K), weights)
    for picture, weight in zip(drawn, weights, strict=True):
        assert (picture == np.bincount(np.repeat(grid, weight, axis=0).ravel(), minlength=K)).all()


@unhurried
@given(grids, st.integers(1, 3), st.integers(1, 3))
def test_patches_have_one_number_exactly_when_their_codes_agree(grid, height, width):
    windows = np.lib.stride_tricks.sliding_window_view(grid, (height, width), axis=(1, 2))
    ids = codes.patches(grid, height, width)
    assert ids.shape == windows.shape[:3]
    contents = [tuple(window.ravel().tolist()) for window in windows.reshape(-1, height, width)]
    assert len(set(zip(ids.ravel().tolist(), contents, strict=True))) == len(set(contents)) == len(set(ids.ravel()))
    assert set(ids.ravel()) == set(range(len(set(contents))))


@pytest.mark.parametrize("live", [256, 60000])
def test_patches_stay_exact_where_nine_digits_do_not_fit_an_integer(live):
    # With 256 live codes the first of nine 8-bit digits would be the one that falls out of 64 bits.
    grid = np.random.default_rng(0).integers(0, live, (30, 9, 9)).astype(np.uint16)
    grid.reshape(-1)[:256] = np.arange(256)
    grid[10:20] = grid[:10]
    grid[20:] = grid[:10]
    grid[20:, 0, 0] ^= 1  # the first cell of one window of each image
    grid[20:, 8, 8] ^= 1  # the last cell of another
    ids = codes.patches(grid, 3, 3)
    assert (ids[:10] == ids[10:20]).all()
    different = ids[:10] != ids[20:]
    assert different[:, 0, 0].all()
    assert different[:, -1, -1].all()
    assert different.sum() == 20
    assert ids.max() + 1 == 10 * 49 + 20


@unhurried
@given(grids, st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
def test_cover_and_mostly_inside_agree_with_loops(grid, height, width, seed):
    _, h, w = grid.shape
    values = np.random.default_rng(seed).integers(0, 9, (len(grid), h - height + 1, w - width + 1))
    covered, masks = codes.cover(values, height, width), grid % 2 == 1
    inside = codes.mostly_inside(masks, height, width)
    for n, y, x in itertools.product(*map(range, grid.shape)):
        part = values[n, max(0, y - height + 1) : y + 1, max(0, x - width + 1) : x + 1]
        assert covered[n, y, x] == part.max()
    for n, y, x in itertools.product(*map(range, inside.shape)):
        assert inside[n, y, x] == (masks[n, y : y + height, x : x + width].mean() > 0.5)


def test_moved_masks_keep_their_form_and_reach_every_place():
    masks = np.zeros((4000, 4, 5), bool)
    masks[:, 1, 1:3] = masks[:, 2, 2] = True
    moved = codes.move_masks(masks, np.random.default_rng(0))
    places = Counter()
    for mask in moved:
        rows, columns = np.nonzero(mask)
        assert list(zip(rows - rows.min(), columns - columns.min(), strict=True)) == [(0, 0), (0, 1), (1, 1)]
        places[rows.min(), columns.min()] += 1
    assert set(places) == set(itertools.product(range(3), range(4)))
    assert min(places.values()) > 4000 / 12 * 0.8
    assert not codes.move_masks(np.zeros((2, 3, 3), bool), np.random.default_rng(0)).any()


@pytest.mark.parametrize("direction", cooccurrence.DIRECTIONS.values())
def test_neighbours_are_each_adjacency_once(direction):
    grid, masks = random_codes(1, 3, 5), box_masks(2, 3, 5)
    down, right = direction
    pairs, inside = Counter(), Counter()
    for n, y, x in itertools.product(*map(range, grid.shape)):
        if y + down < 5 and 0 <= x + right < 5:
            pairs[grid[n, y, x], grid[n, y + down, x + right]] += 1
            if masks[n, y, x] and masks[n, y + down, x + right]:
                inside[grid[n, y, x], grid[n, y + down, x + right]] += 1
    table = codes.pair_counts(grid, K, direction)
    assert {pair: table[pair] for pair in zip(*np.nonzero(table), strict=True)} == pairs
    first, second = codes.neighbours_inside(masks, direction)
    values = grid[masks]
    assert Counter(zip(values[first], values[second], strict=True)) == inside


# Scores --------------------------------------------------------------------------------------------------------------


def test_log_odds_follow_the_published_formula():
    forget, retain, prior = np.array([30, 10, 0]), np.array([10, 50, 0]), 5.0
    value, z = selection.log_odds(forget, retain, prior)
    a, a0 = prior * 40 / 100, prior
    delta = np.log((30 + a) / (40 + a0 - 30 - a)) - np.log((10 + a) / (60 + a0 - 10 - a))
    assert value[0] == pytest.approx(delta)
    assert z[0] == pytest.approx(delta / np.sqrt(1 / (30 + a) + 1 / (10 + a)))
    assert value[2] == z[2] == 0


@unhurried
@given(arrays(np.int64, 6, elements=st.integers(0, 50)), arrays(np.int64, 6, elements=st.integers(0, 50)))
def test_log_odds_change_sign_with_the_sets(forget, retain):
    forget[0], retain[1] = 3, 2
    first, second = selection.log_odds(forget, retain, 2.0), selection.log_odds(retain, forget, 2.0)
    assert first[0] == pytest.approx(-second[0])
    assert selection.shrunken_log_odds(forget, retain) == pytest.approx(-selection.shrunken_log_odds(retain, forget))


def test_shrunken_log_odds_are_zero_for_the_unseen_and_rise_with_evidence():
    value = selection.shrunken_log_odds(np.array([0, 1, 50, 50, 0, 99]), np.array([0, 0, 0, 1, 1, 999]))
    assert value[0] == 0
    assert value[2] > value[3] > value[1] > 0 > value[4]


def test_g_squared_is_twice_the_log_likelihood_ratio():
    table = np.array([[12, 88], [30, 170]])
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    brute = 2 * (table * np.log(table / expected)).sum()
    assert selection.g_squared(np.array([12]), 100, np.array([30]), 200) == pytest.approx(brute)
    assert selection.g_squared(np.array([5]), 50, np.array([20]), 200) == pytest.approx(0, abs=1e-9)


def test_scores_agree_with_loops(folder):
    grid, noise = np.load(folder / "forget_fit.npy"), random_codes(30)
    grid[::2] = noise[::2]  # so that masks hold ordinary codes too
    np.save(folder / "forget_fit.npy", grid)
    run_all(folder)
    scores = pd.read_parquet(folder / "scores.parquet")
    forget, masks = np.load(folder / "forget_fit.npy"), np.load(folder / "masks_fit.npy")
    retain = np.load(folder / "safe_fit.npy")
    masked = masks.any((1, 2))
    sides = {
        "whole": ([image.ravel() for image in forget], [image.ravel() for image in retain]),
        "masked": ([g[m] for g, m in zip(forget, masks, strict=True) if m.any()], [image.ravel() for image in retain]),
        "paired": (
            [g[m] for g, m in zip(forget, masks, strict=True) if m.any()],
            [g[~m] for g, m in zip(forget, masks, strict=True) if m.any()],
        ),
    }
    assert masked.sum() == 39
    for contrast, (first, second) in sides.items():
        part = scores[scores["contrast"] == contrast].set_index(["score", "code"])
        for code in range(K):
            counts = [sum(int((cells == code).sum()) for cells in side) for side in (first, second)]
            assert (part.loc[("auc", code), ["forget", "retain"]] == counts).all()
            legacy = (counts[0] + 1e-8) / (counts[1] + 1e-8)
            assert part.loc[("ratio_legacy", code), "value"] == pytest.approx(legacy)
            shares = [
                np.array([np.ceil((cells == code).mean() * 64 - 1e-9) for cells in side]) for side in (first, second)
            ]
            assert part.loc[("auc", code), "value"] == pytest.approx(auc(*shares))
            present = np.array([[(cells == code).any() for cells in side].count(True) for side in (first, second)])
            joint = np.array([present, [len(first), len(second)] - present]) / (len(first) + len(second))
            independent = joint.sum(1, keepdims=True) * joint.sum(0)
            bits = sum(p * np.log2(p / q) for p, q in zip(joint.ravel(), independent.ravel(), strict=True) if p > 0)
            assert part.loc[("mutual_information", code), "value"] == pytest.approx(bits, abs=1e-9)


def test_planted_codes_lead_every_score(folder):
    run_all(folder)
    scores = pd.read_parquet(folder / "scores.parquet")
    for name, contrast in itertools.product(scores["score"].unique(), ("masked", "paired")):
        explicit = selection.choose(scores, score=name, contrast=contrast, top=3)
        assert set(explicit.tolist()) == {9, 10, 11}, (name, contrast)
    found = selection.choose(scores, score="log_odds", contrast="masked", q=0.05)
    assert {9, 10, 11} <= set(found.tolist())
    for _, part in scores[scores["score"] != "ratio_legacy"].groupby(["score", "contrast"]):
        assert sorted(part.loc[part["live"], "rank"]) == list(range(1, LIVE + 1))
        assert part.loc[~part["live"], "q"].isna().all()
    row = scores[(scores["score"] == "log_odds") & (scores["live"])]
    assert (row["low"] <= row["high"]).all()
    assert ((row["low"] - 1e-9 <= row["value"]) & (row["value"] <= row["high"] + 1e-9)).mean() > 0.9


def test_scores_do_not_depend_on_the_order_of_images_nor_on_the_names_of_codes(folder):
    run_all(folder)
    before = pd.read_parquet(folder / "scores.parquet").set_index(["score", "contrast", "code"])["value"]
    rng = np.random.default_rng(7)
    order, names = rng.permutation(40), rng.permutation(K)
    for name in ("forget_fit", "masks_fit", "safe_fit"):
        values = np.load(folder / f"{name}.npy")[order]
        np.save(folder / f"{name}.npy", values if name == "masks_fit" else names[values].astype(np.uint16))
    run_all(folder)
    after = pd.read_parquet(folder / "scores.parquet").set_index(["score", "contrast", "code"])["value"]
    for (name, contrast, code), value in before.items():
        assert after[name, contrast, names[code]] == pytest.approx(value, nan_ok=True)


def test_counts_of_another_set_are_refused(folder):
    run_all(folder)
    np.save(folder / "forget_fit.npy", np.load(folder / "forget_fit.npy")[:-1])
    np.save(folder / "masks_fit.npy", np.load(folder / "masks_fit.npy")[:-1])
    arguments = ("forget.parquet", "safe.parquet", "forget_fit.npy", "masks_fit.npy", "safe_fit.npy", "scores.parquet")
    with pytest.raises(UserError, match=r"forget\.parquet counts 2560 cells"):
        score.score(*(folder / name for name in arguments), codebook_size=K, prior=1.0, draws=2)


def test_lists_respect_their_limits():
    scores = pd.DataFrame(
        {
            "score": ["log_odds"] * 4 + ["ratio_legacy"] * 4,
            "contrast": "masked",
            "code": [0, 1, 2, 3] * 2,
            "live": [True, True, True, False] * 2,
            "forget": [5, 50, 2, 0] * 2,
            "z": [4.0, 3.0, -9.0, np.nan] * 2,
            "q": [0.01, 0.04, 0.001, np.nan] * 2,
            "rank": [1, 2, 3, 4] * 2,
        }
    )
    pick = {"scores": scores, "score": "log_odds", "contrast": "masked"}
    assert selection.choose(**pick).tolist() == [0, 1, 2]
    assert selection.choose(**pick, q=0.05).tolist() == [0, 1]
    assert selection.choose(**pick, q=0.02).tolist() == [0]
    assert selection.choose(**pick, min_count=10, top=1).tolist() == [1]
    assert selection.choose(scores, score="ratio_legacy", contrast="masked").tolist() == [0, 1, 2, 3]
    with pytest.raises(UserError, match="give `top`"):
        selection.choose(scores, score="ratio_legacy", contrast="masked", q=0.05)
    with pytest.raises(UserError, match="log_odds/masked"):
        selection.choose(scores, score="log_odds", contrast="whole")
    counts = np.array([0, 5, 20, 30])
    assert selection.safe_codes(counts, np.array([2]), 0).tolist() == [1, 3]
    assert selection.safe_codes(counts, np.array([], int), 20).tolist() == [2, 3]


# Localisation --------------------------------------------------------------------------------------------------------


def test_a_planted_concept_is_found_and_moved_masks_are_not(folder):
    run_all(folder)
    table = measured(folder, "localise")
    assert value_of(table, "localisation_auc", unit="1x1") == 1
    assert value_of(table, "recall_at_5_percent_false_hits", unit="1x1") == 1
    assert value_of(table, "codes_for_half_recall", unit="1x1") == 2
    assert value_of(table, "live_codes", unit="1x1") == LIVE
    assert value_of(table, "unseen_share", unit="1x1") == 0
    # The pairs of the three codes are all learned; a 3x3 patch of them is hardly ever met twice.
    assert value_of(table, "localisation_auc", unit="pair") > 0.95
    assert value_of(table, "unseen_share", unit="3x3") > 0.8
    for unit in localise.UNITS:
        assert value_of(table, "localisation_auc_null", unit=unit) < value_of(table, "localisation_auc", unit=unit)
        row = measurements.select(table, metric="localisation_auc", unit=unit).iloc[0]
        assert row["low"] <= row["value"] <= row["high"]
    # A moved region meets the concept where it still lies on it: without those cells it knows nothing.
    assert 0 < value_of(table, "null_overlap") < 0.5
    assert value_of(table, "localisation_auc_null", unit="1x1") > 0.55
    assert value_of(table, "localisation_auc_null_apart", unit="1x1") == pytest.approx(0.5, abs=0.05)
    curves = pd.read_parquet(folder / "curves.parquet")
    for _, part in curves.groupby(["unit", "kind"]):
        assert part["recall"].is_monotonic_increasing
        assert part["false_hit"].iloc[[0, -1]].tolist() == [0, 1]
        assert part["recall"].iloc[-1] == 1


def test_a_region_that_fills_its_pictures_has_no_null_apart_from_it(folder):
    for name in ("fit", "test"):
        np.save(folder / f"masks_{name}.npy", np.ones((40, 8, 8), bool))
    run_all(folder)
    table = measured(folder, "localise")
    assert value_of(table, "null_overlap") == 1
    assert len(measurements.select(table, metric="localisation_auc_null_apart")) == 0


def test_without_a_concept_the_area_is_a_half(folder):
    for index, name in enumerate(("forget_fit", "forget_test", "safe_fit", "safe_test")):
        np.save(folder / f"{name}.npy", random_codes(100 + index))
    run_all(folder)
    table = measured(folder, "localise")
    for metric, unit in itertools.product(("localisation_auc", "localisation_auc_null"), localise.UNITS):
        assert value_of(table, metric, unit=unit) == pytest.approx(0.5, abs=0.06)
    assert value_of(table, "recall_at_5_percent_false_hits", unit="1x1") == pytest.approx(0.05, abs=0.04)


def test_the_curve_is_that_of_a_loop(folder):
    grid, masks = np.load(folder / "forget_test.npy"), np.load(folder / "masks_test.npy")
    grid[masks] = random_codes(9, 1, 100)[0].ravel()[: masks.sum()]  # some signal lost
    np.save(folder / "forget_test.npy", grid)
    run_all(folder)
    fit, fit_masks = np.load(folder / "forget_fit.npy"), np.load(folder / "masks_fit.npy")
    safe_fit, safe = np.load(folder / "safe_fit.npy"), np.load(folder / "safe_test.npy")

    def learned(window_of, shape):
        forget, retain = Counter(), Counter()
        rows, columns = fit.shape[1] - shape[0] + 1, fit.shape[2] - shape[1] + 1
        for n, y, x in itertools.product(range(len(fit)), range(rows), range(columns)):
            if fit_masks[n, y : y + shape[0], x : x + shape[1]].mean() > 0.5:
                forget[window_of(fit, n, y, x)] += 1
            retain[window_of(safe_fit, n, y, x)] += 1
        share = forget.total() / (forget.total() + retain.total())
        return lambda unit: np.log((forget[unit] + share) / (retain[unit] + 1 - share) / (share / (1 - share)))

    def cell_scores(images, window_of, shape, value):
        scores = np.full(images.shape, -np.inf)
        rows, columns = images.shape[1] - shape[0] + 1, images.shape[2] - shape[1] + 1
        for n, y, x in itertools.product(range(len(images)), range(rows), range(columns)):
            part = scores[n, y : y + shape[0], x : x + shape[1]]
            np.maximum(part, round(value(window_of(images, n, y, x)), 12), out=part)
        return scores

    table = measured(folder, "localise")
    for unit, shape in (("1x1", (1, 1)), ("2x2", (2, 2))):

        def window_of(images, n, y, x, shape=shape):
            return images[n, y : y + shape[0], x : x + shape[1]].tobytes()

        value = learned(window_of, shape)
        positive = cell_scores(grid, window_of, shape, value)[masks]
        negative = cell_scores(safe, window_of, shape, value).ravel()
        assert 0.5 < auc(positive, negative) < 0.95
        assert value_of(table, "localisation_auc", unit=unit) == pytest.approx(auc(positive, negative), abs=1e-9)


# Statistics under the masks ------------------------------------------------------------------------------------------


def test_distribution_of_equal_codes_is_known():
    found = code_stats.distribution(np.r_[np.full(16, 5), np.zeros(4)], live=16)
    assert found["entropy_bits"] == pytest.approx(4)
    assert found["entropy_share_of_live"] == pytest.approx(1)
    assert found["perplexity"] == pytest.approx(16)
    assert found["coverage_live"] == 1
    assert found["coverage_codebook"] == 0.8
    assert found["top10_share"] == pytest.approx(10 / 16)
    assert found["top50_share"] == pytest.approx(1)
    assert found["entropy_bits_miller_madow"] == pytest.approx(4 + 15 / (2 * 80 * np.log(2)))


def test_cosine_divergence_and_pmi_agree_with_loops():
    rng = np.random.default_rng(2)
    mask = np.repeat(np.arange(6), [4, 7, 3, 9, 5, 8])
    values = rng.integers(0, 5, len(mask))
    pairs = [np.arange(len(mask) - 1), np.arange(1, len(mask))]
    found = code_stats.describe(values, mask, 6, pairs, K, 5)
    rows = np.stack([np.bincount(values[mask == index], minlength=K) for index in range(6)]).astype(float)
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in itertools.combinations(rows, 2)]
    assert found["histogram_cosine"] == pytest.approx(np.mean(cosines))

    def entropy(p):
        return -sum(x * np.log2(x) for x in p if x > 0)

    shares = rows / rows.sum(1, keepdims=True)
    expected = entropy(shares.mean(0)) - np.mean([entropy(share) for share in shares])
    assert found["jensen_shannon_bits"] == pytest.approx(expected)
    together = Counter(itertools.pairwise(values.tolist()))
    left, right, total = Counter(values[:-1]), Counter(values[1:]), len(values) - 1
    pmi = [np.log2(n * total / left[a] / right[b]) for (a, b), n in together.items() if n >= 5]
    assert (found["pair_pmi_max"] == pytest.approx(max(pmi))) if pmi else np.isnan(found["pair_pmi_max"])


def test_mean_cosine_of_a_resample_leaves_out_a_mask_with_itself():
    histograms = code_stats.histograms_of(np.array([0, 1, 1]), np.array([0, 0, 1]), 2, 3)
    once, twice = code_stats.mean_cosine(histograms, np.array([[1, 1], [2, 2]]))
    assert once == twice == pytest.approx(np.sqrt(0.5))
    assert np.isnan(code_stats.mean_cosine(histograms, np.array([[2, 0]]))[0])


def test_the_null_covers_masks_without_structure_and_not_a_planted_concept(folder):
    np.save(folder / "forget_fit.npy", random_codes(50, codebook_size=9))
    run_all(folder)
    table = measured(folder, "stats")
    for metric in ("entropy_bits", "top10_share", "histogram_cosine", "jensen_shannon_bits"):
        null = measurements.select(table, metric=f"{metric}_null").iloc[0]
        margin = null["high"] - null["low"]
        assert null["low"] - margin <= value_of(table, metric) <= null["high"] + margin
    np.save(folder / "forget_fit.npy", planted(1)[0])
    run_all(folder)
    table = measured(folder, "stats")
    null = measurements.select(table, metric="entropy_bits_null").iloc[0]
    measured_row = measurements.select(table, metric="entropy_bits").iloc[0]
    assert measured_row["high"] < null["low"]
    assert measured_row["value"] == pytest.approx(np.log2(3), abs=0.01)
    assert value_of(table, "maximum_bits_live") == pytest.approx(np.log2(LIVE))
    top = pd.read_parquet(folder / "codes.parquet")
    assert set(top["code"]) == {9, 10, 11}
    assert top["cumulative_share"].iloc[-1] == pytest.approx(1)
    inside, background = 39 * 9, 40 * 64
    share = inside / (inside + background)
    log_odds = np.log((top["count"] + share) / (1 - share)) - np.log(share / (1 - share))
    assert top["log_odds"].to_numpy() == pytest.approx(log_odds.to_numpy())


def test_the_null_draws_from_every_background_image(tmp_path):
    np.save(tmp_path / "codes.npy", random_codes(0, images=1))
    np.save(tmp_path / "masks.npy", np.pad(np.ones((1, 4, 4), bool), ((0, 0), (2, 2), (2, 2))))
    background = np.zeros((4, 8, 8), np.uint16)
    background[2:] = random_codes(1, images=2)
    np.save(tmp_path / "background.npy", background)
    files = (tmp_path / name for name in ("codes.npy", "masks.npy", "background.npy", "table.parquet", "stats.parquet"))
    code_stats.code_stats(*files, model="m", preset="p", set="s", codebook_size=K, draws=100)
    null = measurements.select(measured(tmp_path, "stats"), metric="entropy_bits_null").iloc[0]
    assert null["low"] == pytest.approx(0, abs=1e-9)
    assert null["high"] > 2
    drawn_from_half = 0.3 * null["high"] < null["value"] < 0.7 * null["high"]
    assert drawn_from_half


# Pairs and patches ---------------------------------------------------------------------------------------------------


def test_pair_information_of_a_copy_is_its_entropy_and_of_independent_codes_nothing():
    rng = np.random.default_rng(0)
    half = np.arange(20000)
    values = rng.integers(0, 4, 20000)
    places = {"horizontal": (half, half + 20000)}
    assert cooccurrence.mutual_information(np.r_[values, values], places, K) == pytest.approx(2, abs=1e-3)
    assert cooccurrence.mutual_information(rng.integers(0, 4, 40000), places, K) < 1e-3


def test_pair_tests_agree_with_loops():
    grid, masks, safe = random_codes(1, codebook_size=4), box_masks(2), random_codes(3, codebook_size=4)
    places = {name: codes.neighbours_inside(masks, step) for name, step in cooccurrence.DIRECTIONS.items()}
    tables = {name: codes.pair_counts(safe, K, step) for name, step in cooccurrence.DIRECTIONS.items()}
    values = grid[masks].astype(np.int64)
    totals = {name: table.sum() for name, table in tables.items()}
    found = cooccurrence.score_pairs(values, places, tables, totals, min_count=4)
    assert len(found) == sum(
        n >= 4 for name in places for n in Counter(zip(*(values[side] for side in places[name]), strict=True)).values()
    )
    for row in found.itertuples():
        first, second = (values[side] for side in places[row.direction])
        together = int(((first == row.code_a) & (second == row.code_b)).sum())
        chance = (first == row.code_a).mean() * (second == row.code_b).mean()
        table = tables[row.direction]
        assert row.count == together >= 4
        assert row.pmi == pytest.approx(np.log2(together / len(first) / chance))
        assert row.retain == table[row.code_a, row.code_b]
        assert row.g2 == pytest.approx(selection.g_squared(together, len(first), row.retain, table.sum()))
        assert row.excess == (together / len(first) > row.retain / table.sum())
    p = stats.chi2.sf(found["g2"].to_numpy(), 1)
    assert found["q"].to_numpy() == pytest.approx(stats.false_discovery_control(p))


def test_planted_pairs_are_found_beyond_what_the_frequencies_give(folder):
    grid, masks = np.load(folder / "forget_fit.npy"), np.load(folder / "masks_fit.npy")
    columns = np.arange(grid.shape[2])
    stripes = np.broadcast_to(9 + (columns % 3), grid.shape)
    grid[masks] = stripes[masks]
    np.save(folder / "forget_fit.npy", grid)
    safe = np.load(folder / "safe_fit.npy")
    safe[:, 5:] = np.random.default_rng(0).integers(9, 12, safe[:, 5:].shape)  # the same codes, in no order
    np.save(folder / "safe_fit.npy", safe)
    run_all(folder)
    table = measured(folder, "cooccurrence")
    assert value_of(table, "pair_mutual_information_bits") > 1.4
    null = measurements.select(table, metric="pair_mutual_information_bits_null").iloc[0]
    assert null["high"] < 0.2
    top = pd.read_parquet(folder / "pairs.parquet")
    horizontal = set(map(tuple, top.loc[top["direction"] == "horizontal", ["code_a", "code_b"]].to_numpy().tolist()))
    assert horizontal == {(9, 10), (10, 11), (11, 9)}
    assert (top["q"] <= 0.05).all()
    stored = np.load(folder / "pairs.npz")
    assert set(stored.files) == set(cooccurrence.DIRECTIONS)
    assert stored["horizontal"].dtype == np.int32
    assert stored["horizontal"].sum() == 40 * 8 * 7
    assert value_of(table, "patch_coverage", patch="2x2") > 0.9
    assert value_of(table, "patch_coverage_null", patch="2x2") < 0.5
    patches = pd.read_parquet(folder / "patches.parquet")
    best = patches[patches["patch"] == "3x3"].iloc[0]
    assert len(best["codes"].split(" ")) == 9
    assert best["count"] > 3 * best["expected"]


def test_patch_coverage_and_expected_counts_agree_with_loops():
    grid, masks, safe = random_codes(1, codebook_size=3), box_masks(2), random_codes(3, codebook_size=5)
    table, rows = cooccurrence.score_patches(grid, masks, safe, (2, 2), 5, 1.5, np.random.default_rng(0))
    windows = {
        (name, n, y, x): tuple(images[n, y : y + 2, x : x + 2].ravel().tolist())
        for name, images in (("forget", grid), ("safe", safe))
        for n, y, x in itertools.product(range(40), range(7), range(7))
    }
    forget, retain = (Counter(unit for key, unit in windows.items() if key[0] == name) for name in ("forget", "safe"))
    explicit = {unit for unit, number in forget.items() if number >= 5 and number > 1.5 * retain[unit]}
    covered = {name: np.zeros(grid.shape, bool) for name in ("forget", "safe")}
    for (name, n, y, x), unit in windows.items():
        covered[name][n, y : y + 2, x : x + 2] |= unit in explicit
    values = {row["metric"]: row["value"] for row in rows}
    assert 0 < values["explicit_patches"] == len(explicit)
    assert values["patch_coverage"] == pytest.approx(covered["forget"][masks].mean())
    assert values["patch_coverage_safe"] == pytest.approx(covered["safe"].mean())
    share = np.bincount(grid.ravel()) / grid.size
    for row in table.itertuples():
        unit = tuple(map(int, row.codes.split(" ")))
        assert (row.count, row.retain) == (forget[unit], retain[unit])
        assert row.expected == pytest.approx(40 * 49 * np.prod(share[list(unit)]))


def test_explicit_patches_follow_the_ratio_and_the_minimum_count():
    grid = np.zeros((4, 2, 2), np.uint16)
    grid[2:] = 1
    safe = np.zeros((3, 2, 2), np.uint16)
    ids = codes.patches(np.concatenate([grid, safe]), 2, 2)
    counts, explicit = cooccurrence.explicit_patches(ids[:4], ids[4:], min_count=2, ratio=2.5)
    assert counts[0].tolist() == [2, 2]
    assert counts[1].tolist() == [3, 0]
    assert explicit.tolist() == [False, True]
    assert not cooccurrence.explicit_patches(ids[:4], ids[4:], min_count=3, ratio=2.5)[1].any()


def test_no_pair_frequent_enough_is_no_error():
    table = {"horizontal": np.zeros((K, K), np.int32)}
    places = {"horizontal": (np.arange(3), np.arange(1, 4))}
    found = cooccurrence.score_pairs(np.arange(4), places, table, {"horizontal": 0}, 2)
    assert found.empty
    assert cooccurrence.significant(found) == 0


# Repeatability -------------------------------------------------------------------------------------------------------


def test_a_second_run_writes_the_same_bytes(folder):
    first = run_all(folder)
    assert len(first) == 11
    for name in first:
        (folder / name).unlink()
    assert run_all(folder) == first


def test_steps_run_from_the_command_line(folder):
    names = {"forget_codes": "forget_fit", "forget_masks": "masks_fit", "safe_fit_codes": "safe_fit"}
    outputs = {"pairs": "a.npz", "table": "a.parquet", "patches": "b.parquet", "measurements": "c.parquet"}
    files = {**{key: f"{name}.npy" for key, name in names.items()}, **outputs}
    values = {"model": "m", "preset": "p", "codebook_size": K, "min_count": 3, "ratio": 2.5, "draws": 3}
    arguments = {**{key: folder / name for key, name in files.items()}, **values, "neighbourhood": "4"}
    flags = [text for key, value in arguments.items() for text in (f"--{key.replace('_', '-')}", str(value))]
    run.step(cooccurrence.cooccurrence, flags)
    assert set(np.load(folder / "a.npz").files) == {"horizontal", "vertical"}
    assert run.read_record(folder / "a.npz")["result"]["cells_inside"] == 39 * 9
    with pytest.raises(SystemExit, match="codebook has 5 entries"):
        run.step(cooccurrence.cooccurrence, [*flags, "--codebook-size", "5"])
