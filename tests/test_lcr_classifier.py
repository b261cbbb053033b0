"""The linear code classifier and its counterfactuals: closed forms against brute force, controls, determinism."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import check_grad
from scipy.special import expit

from palimpsest.lcr import linear_code_model
from palimpsest.lcr.classify import auc_interval, classify, f1, quality
from palimpsest.lcr.counterfactual import (
    best_flips,
    code_changes,
    combinations,
    counterfactual,
    importance_table,
    legacy_flips,
    legacy_ranking,
)
from palimpsest.lcr.linear_code_model import KINDS, LinearCodeModel, fit, loss_and_gradient, multiplicity
from palimpsest.metrics.intervals import auc
from palimpsest.metrics.measurements import read, select
from palimpsest.run import UserError, step

SETTINGS = {"rank": 2, "weight_decay": 0.01, "iterations": 60, "patience": 10}
PARAMS = {**SETTINGS, "validation": 0.25, "levels": 3, "sources": ["scrape", "stock"], "carriers": ["figure"]}


def random_classifier(rng, codes=7, cells=12, rank=3) -> LinearCodeModel:
    return LinearCodeModel(rng.normal(size=(cells, rank)), rng.normal(size=(codes, rank)), float(rng.normal()))


def slow_logit(model: LinearCodeModel, grid: np.ndarray) -> float:
    return model.bias + sum(model.position[p] @ model.embedding[code] for p, code in enumerate(grid.ravel()))


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def grids(rng):
    return rng.integers(0, 7, (9, 3, 4)).astype(np.uint16)


def test_logits_are_sums_over_cells(rng, grids, monkeypatch):
    model = random_classifier(rng)
    expected = [slow_logit(model, grid) for grid in grids]
    np.testing.assert_allclose(model.logits(grids), expected)
    np.testing.assert_allclose(model.cell_logits(grids).sum(1) + model.bias, expected)
    monkeypatch.setattr(linear_code_model, "CELLS_AT_ONCE", 24)  # two images at once
    np.testing.assert_allclose(model.logits(grids), expected)


def test_gradient_is_the_slope_of_the_loss(rng, grids):
    start, labels = random_classifier(rng), np.arange(9) < 3
    sizes = (start.position.size, start.position.size + start.embedding.size)

    def model_of(values):
        position, embedding, bias = np.split(values, sizes)
        return LinearCodeModel(position.reshape(12, 3), embedding.reshape(7, 3), bias[0])

    def slope(values):
        found = loss_and_gradient(model_of(values), grids, labels)[1]
        return np.concatenate([found["position"].ravel(), found["embedding"].ravel(), [found["bias"]]])

    values = np.concatenate([start.position.ravel(), start.embedding.ravel(), [start.bias]])
    assert check_grad(lambda values: loss_and_gradient(model_of(values), grids, labels)[0], slope, values) < 1e-5


def test_classes_weigh_the_same_whatever_their_sizes(rng, grids):
    model = random_classifier(rng)
    labels = np.arange(9) < 3
    loss = loss_and_gradient(model, grids, labels)[0]
    more = np.concatenate([grids[3:], grids])  # the safe images twice
    assert loss_and_gradient(model, more, np.r_[np.zeros(6, bool), labels])[0] == pytest.approx(loss)


def test_multiplicity_counts_and_ignores_names(rng):
    grid = np.array([[[0, 0, 0, 0], [1, 1, 2, 3]]], np.uint16)
    assert multiplicity(grid, 9, 3).tolist() == [[[2, 2, 2, 2], [1, 1, 0, 0]]]
    codes = rng.integers(0, 9, (5, 4, 4)).astype(np.uint16)
    renamed = np.stack([rng.permutation(9)[part] for part in codes])
    np.testing.assert_array_equal(multiplicity(codes, 9, 4), multiplicity(renamed, 9, 4))


def planted(rng, n, code=3, codes=16, side=4, place=None):
    """Random grids; in forget grids one cell (of a random or the given place) has the planted code."""
    forget, safe = rng.integers(0, codes, (2, n, side * side))
    if place is None:
        forget[forget == code], safe[safe == code] = 0, 0
        forget[np.arange(n), rng.integers(0, side * side, n)] = code
    else:  # as often in safe grids, elsewhere
        forget[:, place], safe[:, place] = code, 0
        safe[:, place - 1] = code
    return (part.reshape(n, side, side).astype(np.uint16) for part in (forget, safe))


def trained(kind, forget, safe, seed=0):
    codes, labels = np.concatenate([forget, safe]), np.arange(2 * len(forget)) < len(forget)
    kept = np.random.default_rng(1).permutation(len(codes)) % 4 > 0
    return fit(kind, codes[kept], labels[kept], (codes[~kept], labels[~kept]), 16, seed=seed, **SETTINGS)[0]


def test_planted_code_is_found(rng):
    model = trained("bag", *planted(rng, 300))
    assert model.table().mean(1).argmax() == 3
    forget, safe = planted(rng, 200)
    assert auc(model.logits(forget), model.logits(safe)) > 0.99


def test_only_full_sees_the_place_of_a_code(rng):
    fitted, tested = list(planted(rng, 300, place=5)), list(planted(rng, 200, place=5))
    scores = {kind: [trained(kind, *fitted).logits(part) for part in tested] for kind in ("bag", "full")}
    assert auc(*scores["bag"]) < 0.75
    assert auc(*scores["full"]) > 0.99


def test_shuffled_labels_give_chance(rng):
    forget, safe = planted(rng, 300)
    codes = np.concatenate([forget, safe])
    labels = rng.permutation(np.arange(len(codes)) < len(forget))
    tested = [part[:, None] for part in np.split(np.arange(200), 2)]
    for kind in ("bag", "full"):
        # Held out are the fitted images themselves, so that nothing stops the descent at its start.
        model = fit(kind, codes, labels, (codes, labels), 16, **SETTINGS)[0]
        assert auc(model.logits(codes[labels]), model.logits(codes[~labels])) > 0.55
        fresh = np.concatenate([*planted(rng, 100)])
        fresh_scores = model.logits(fresh)[rng.permutation(200)]
        low, high = auc_interval(*(fresh_scores[part] for part in tested))
        assert 0.3 < low < 0.5 < high < 0.7


def test_best_held_out_weights_are_kept(rng):
    forget, safe = rng.integers(0, 16, (2, 40, 4, 4)).astype(np.uint16)
    codes, labels = np.concatenate([forget, safe]), np.arange(80) < 40
    held_out = rng.integers(0, 16, (80, 4, 4)).astype(np.uint16), labels
    settings = {**SETTINGS, "weight_decay": 1e-6}
    model, at = fit("bag", codes, labels, held_out, 16, **settings)
    longer, later = fit("bag", codes, labels, held_out, 16, **{**settings, "patience": 60})
    start = LinearCodeModel(np.ones((16, 1)), np.zeros((16, 1)), 0.0)
    assert at == later < settings["iterations"]
    assert loss_and_gradient(model, *held_out)[0] == loss_and_gradient(longer, *held_out)[0]
    assert loss_and_gradient(model, *held_out)[0] <= loss_and_gradient(start, *held_out)[0]


def test_auc_interval_is_the_bootstrap_of_the_auc(rng):
    positive, negative = rng.normal(1, 1, (80, 3)), rng.normal(0, 1, (70, 4))
    positive[:20, 1:] = np.nan
    drawn = []
    for _ in range(400):
        first, second = positive[rng.integers(80, size=80)], negative[rng.integers(70, size=70)]
        drawn.append(auc(first[~np.isnan(first)], second.ravel()))
    np.testing.assert_allclose(auc_interval(positive, negative), np.quantile(drawn, [0.025, 0.975]), atol=0.015)


def test_quality_of_known_scores():
    rows = quality(np.array([2.0, 1.0, -1.0]), np.array([-2.0, -3.0, 0.5]), seed=0)
    values = {part["metric"]: part["value"] for part in rows}
    assert values["accuracy"] == pytest.approx(4 / 6)
    assert values["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert values["auc"] == pytest.approx(8 / 9)
    assert f1(np.zeros((4, 2))) == 0


def test_changes_are_exact(rng, grids):
    model = random_classifier(rng)
    changes = code_changes(model, grids, baseline=2)
    for codes in [*itertools.combinations(range(7), 1), (0, 3, 5), (1, 2, 4, 6)]:
        edited = np.where(np.isin(grids, codes), 2, grids)
        forward = [
            slow_logit(model, after) - slow_logit(model, before) for after, before in zip(edited, grids, strict=True)
        ]
        np.testing.assert_allclose(changes[:, codes].sum(1), forward, atol=1e-10)


def test_best_set_beats_every_other_set(rng, grids):
    model = random_classifier(rng)
    changes = code_changes(model, grids, 0)
    rows = combinations(model, grids, changes, 0, np.arange(7), 3, seed=0)
    best = next(
        part for part in rows if part["metric"] == "logit_change" and part["rule"] == "best" and part["size"] == 3
    )
    every = [changes[:, codes].sum(1).mean() for codes in itertools.combinations(range(7), 3)]
    assert best["value"] == pytest.approx(min(every))
    # All 35 sets of three are among a thousand random ones.
    random = next(part for part in rows if part["metric"] == "logit_change" and part["rule"] == "random")
    assert random["value"] == pytest.approx(min(every))
    error = next(part for part in rows if part["metric"] == "additive_error")
    assert error["value"] < 1e-10


def test_importance_is_the_change_of_probability(rng, grids):
    model = random_classifier(rng)
    table = importance_table(model.logits(grids), code_changes(model, grids, 1))
    for code in range(7):
        moved = expit(model.logits(np.where(grids == code, 1, grids))) - expit(model.logits(grids))
        assert table.loc[code, "probability_change"] == pytest.approx(moved.mean())
        assert table.loc[code, "probability_change_absolute"] == pytest.approx(np.abs(moved).mean())


def test_best_flips_are_the_fewest(rng):
    """Against every set of cells and every code, one and two cells at a time."""
    model, grids = random_classifier(rng, codes=4, cells=6), rng.integers(0, 4, (60, 2, 3)).astype(np.uint16)
    live = np.array([True, True, True, False])
    found = best_flips(model, grids, live, budget=2).set_index("image")
    assert set(found.index) == set(np.flatnonzero(model.logits(grids) < 0))
    seen = set()
    for image, flips in found.iterrows():
        needed, highest = np.inf, -np.inf
        for cells in [*itertools.combinations(range(6), 1), *itertools.combinations(range(6), 2)]:
            for codes in itertools.product(range(3), repeat=len(cells)):
                edited = grids[image].ravel().copy()
                edited[list(cells)] = codes
                highest = max(highest, slow_logit(model, edited))
                if slow_logit(model, edited) >= 0:
                    needed = min(needed, len(cells))
        assert flips["reached"] == (needed <= 2)
        if flips["reached"]:
            assert flips["flips"] == needed
        else:
            assert flips["end"] == pytest.approx(expit(highest))
        seen.add(needed)
    assert seen == {1, 2, np.inf}  # the case holds all three kinds


def slow_legacy(model, grid, ranking, budget, threshold):
    """The original's loop: one forward pass for every cell."""
    grid, flips = grid.ravel().copy(), 0
    for code in ranking[:budget]:
        now = expit(slow_logit(model, grid))
        if now >= 0.5:
            break
        tries = np.repeat(grid[None], len(grid), 0)
        np.fill_diagonal(tries, code)
        chances = [expit(slow_logit(model, part)) for part in tries]
        if max(chances) - now < threshold:
            break
        grid, flips = tries[int(np.argmax(chances))], flips + 1
    return flips, expit(slow_logit(model, grid))


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.2])
def test_legacy_rule_is_the_original_loop(rng, threshold):
    model, grids = random_classifier(rng), rng.integers(0, 7, (40, 3, 4)).astype(np.uint16)
    model = LinearCodeModel(0.4 * model.position, model.embedding, -4.0)
    ranking = rng.permutation(7)
    found = legacy_flips(model, grids, ranking, budget=6, threshold=threshold)
    assert len(set(found["flips"])) > 1
    assert set(found["reached"]) == {True, False}
    for _, flips in found.iterrows():
        count, end = slow_legacy(model, grids[int(flips["image"])], ranking, 6, threshold)
        assert (flips["flips"], flips["end"]) == (count, pytest.approx(end))
        assert flips["reached"] == (end >= 0.5)


def test_legacy_ranking_puts_codes_without_safe_counts_first():
    assert legacy_ranking(np.array([10, 1, 0, 4]), np.array([5, 0, 0, 8])).tolist() == [1, 0, 2, 3]


def write_sets(folder, rng, confound):
    """Grids in which code 3 marks the concept and, where `confound`, code 5 the source."""
    for name in ("forget", "safe", "forget_test", "safe_test"):
        concept, n = name.startswith("forget"), 160
        codes = rng.integers(6, 16, (n, 4, 4)).astype(np.uint16)
        source = np.where(np.arange(n) % 2, "scrape", "stock")
        masks = np.zeros(codes.shape, bool)
        if concept:
            masks[np.arange(n), rng.integers(0, 4, n), rng.integers(0, 4, n)] = True
            codes[masks] = 3
        if confound:
            codes[source == "scrape", 0, :2] = 5
        np.save(folder / f"{name}_codes.npy", codes)
        np.save(folder / f"{name}_masks.npy", masks)
        objects = np.where(np.arange(n) % 4 < 2, "figure", "tree") if not concept else np.repeat("figure", n)
        pd.DataFrame({"source": source, "object": objects}).to_parquet(folder / f"{name}_manifest.parquet")


def run_classify(folder, name="a", **changes):
    sets = {"forget-fit": "forget", "safe-fit": "safe", "forget-test": "forget_test", "safe-test": "safe_test"}
    arguments = [f"--{option}-codes={folder / f'{name}_codes.npy'}" for option, name in sets.items()]
    arguments += [f"--{option}-manifest={folder / f'{name}_manifest.parquet'}" for option, name in sets.items()]
    outputs = folder / f"{name}.safetensors", folder / f"{name}.parquet"
    step(
        classify,
        [
            *arguments,
            f"--forget-test-masks={folder / 'forget_test_masks.npy'}",
            f"--weights={outputs[0]}",
            f"--measurements={outputs[1]}",
            "--model=tiny",
            "--preset=corrected",
            "--codebook-size=16",
            f"--params={json.dumps({**PARAMS, **changes})}",
        ],
    )
    return outputs


def test_step_tells_concept_from_source(tmp_path, rng):
    write_sets(tmp_path, rng, confound=True)
    weights, measured = run_classify(tmp_path)
    table = read([measured])

    def value(**labels):
        found = select(table, **labels)
        assert len(found) == 1
        return found["value"].iloc[0]

    assert set(table["classifier"]) == {*KINDS}
    assert value(metric="auc", classifier="full", source="balanced", evaluation="same") > 0.95
    assert value(metric="auc", classifier="full", source="balanced", evaluation="figures") > 0.95
    assert value(metric="auc", classifier="bag", source="confounded", evaluation="same") > 0.95
    swapped = value(metric="auc", classifier="bag", source="confounded", evaluation="swapped")
    assert swapped < value(metric="auc", classifier="bag", source="confounded", evaluation="same") - 0.2
    assert value(metric="localisation_auc", unit="linear") > 0.95
    model = linear_code_model.load(weights)
    assert model.position.shape == (16, 2)
    assert model.embedding.shape == (16, 2)
    again = run_classify(tmp_path, "b")
    assert [path.read_bytes() for path in again] == [weights.read_bytes(), measured.read_bytes()]


def test_step_names_a_source_that_no_image_has(tmp_path, rng):
    write_sets(tmp_path, rng, confound=False)
    with pytest.raises(SystemExit, match=r"source in \['crawl'\].*`sources`"):
        run_classify(tmp_path, sources=["crawl", "stock"])


def test_counterfactual_step(tmp_path, rng):
    write_sets(tmp_path, rng, confound=False)
    weights, _ = run_classify(tmp_path)
    paths = {name: tmp_path / f"{name}.parquet" for name in ("importance", "greedy", "found")}
    found = counterfactual(
        weights,
        tmp_path / "forget_test_codes.npy",
        tmp_path / "safe_test_codes.npy",
        *paths.values(),
        model="tiny",
        preset="corrected",
        codebook_size=16,
        baseline_token=0,
        budget=4,
        combination_size=3,
        threshold=0.01,
    )
    importance = pd.read_parquet(paths["importance"])
    assert importance.query("baseline == 'token'").set_index("code")["logit_change"].idxmin() == 3
    assert found["baselines"]["frequent"] in range(6, 16)
    table = read([paths["found"]])
    assert select(table, metric="additive_error")["value"].max() < 1e-5
    reached = select(table, metric="reached_share").set_index("rule")["value"]
    assert reached["best"] >= reached["legacy"]
    assert select(table, metric="flips_to_cross", rule="best")["value"].iloc[0] == 1


def test_counterfactual_refuses_a_classifier_of_another_codebook(tmp_path, rng, grids):
    linear_code_model.save(tmp_path / "w.safetensors", random_classifier(rng, codes=9), {})
    np.save(tmp_path / "codes.npy", grids)
    settings = {"model": "m", "preset": "p", "baseline_token": 0, "budget": 2, "combination_size": 2, "threshold": 0.01}
    outputs = [tmp_path / name for name in ("a", "b", "c")]
    with pytest.raises(UserError, match="train the classifier again"):
        counterfactual(tmp_path / "w.safetensors", *[tmp_path / "codes.npy"] * 2, *outputs, codebook_size=7, **settings)
