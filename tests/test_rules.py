"""Every replacement rule, found by its file: what it may change, what it promises; and how edits are measured."""

import dataclasses
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from conftest import ROOT
from palimpsest.judges.boxes import Detections
from palimpsest.judges.networks import EmblemDetector
from palimpsest.lcr.cells import to_pixels
from palimpsest.lcr.context import Context, nearest_safe, squared_distances
from palimpsest.lcr.evaluation import Evaluation, Judges
from palimpsest.lcr.replace import Variant, apply, variants
from palimpsest.lcr.thresholds import SWEEP, THRESHOLD
from palimpsest.models.pixels import to_tensor
from palimpsest.models.vqgan import VQGAN, VQGANConfig, decode
from palimpsest.worlds import scenes

RULES = {
    path.stem: import_module(f"palimpsest.lcr.rules.{path.stem}")
    for path in sorted((ROOT / "src/palimpsest/lcr/rules").glob("*.py"))
    if path.stem != "__init__"
}
OF_CODES = [name for name, module in RULES.items() if hasattr(module, "replace")]
OF_PIXELS = [name for name, module in RULES.items() if hasattr(module, "paint")]
DRAWN = [name for name in OF_CODES if getattr(RULES[name], "RANDOM", False)]
# These may bring any code back: from the image itself, from a bank of whole grids, from the twin, or by their purpose.
UNSAFE = {"shuffle_in_mask", "border_fill", "donor_patch", "twin", "random_live"}
SETTINGS = {"learned_map": {"steps": 2, "batch": 3}}
CODES, IMAGES, SIDE = 40, 6, 8  # cells of 4 pixels


def context_of(quantiser, **given):
    """A context of random weights, pictures and codes; codes 30 to 35 are explicit, 36 to 39 occur nowhere."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    dim = 32 if quantiser == "gumbel" else 8
    model = VQGAN(VQGANConfig(quantiser, CODES, dim, 32, 32, 32, (1, 1), 1, patch=2)).eval().requires_grad_(False)
    bank = rng.integers(0, 30, (12, SIDE, SIDE)).astype(np.uint16)
    fit_cells = np.zeros((IMAGES, SIDE, SIDE), bool)
    fit_cells[:, 2:5, 2:6] = True
    values = {
        "model": model,
        "images": rng.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8),
        "explicit": np.arange(30, 36),
        "safe": np.arange(30),
        "counts": np.bincount(bank.ravel(), minlength=CODES),
        "bank": bank,
        "fit_codes": rng.integers(0, 36, (IMAGES, SIDE, SIDE)).astype(np.uint16),
        "fit_cells": fit_cells,
        "guide": EmblemDetector(4, 1).eval().requires_grad_(False),
        "twin_codes": rng.integers(0, 30, (IMAGES, SIDE, SIDE)),
    }
    return Context(**(values | given))


@pytest.fixture(scope="module", params=["gumbel", "nearest"])
def context(request):
    return context_of(request.param)


@pytest.fixture(scope="module")
def codes():
    return np.random.default_rng(1).integers(0, 36, (IMAGES, SIDE, SIDE))


@pytest.fixture(scope="module")
def cells():
    """A box in most images, none in one, the whole grid in another, and at the edge."""
    cells = np.zeros((IMAGES, SIDE, SIDE), bool)
    cells[0, 2:5, 3:6] = cells[1, 0:3, 5:8] = cells[2, 6, 1] = cells[4, 1:7, 2:6] = True
    cells[5] = True
    return cells


def replaced(name, codes, cells, context, seed=0):
    context = dataclasses.replace(context, learned={})  # which is of one rule and of these codes
    return RULES[name].replace(codes, cells, context, np.random.default_rng(seed), **SETTINGS.get(name, {}))


def test_the_rules_are_found():
    assert len(OF_CODES) >= 15 and len(OF_PIXELS) >= 4 and not set(OF_CODES) & set(OF_PIXELS)
    assert set(OF_CODES) | set(OF_PIXELS) == set(RULES)
    assert set(OF_CODES) >= UNSAFE and {"random_safe", "random_live", "shuffle_in_mask"} <= set(DRAWN)


# Edits of codes


@pytest.mark.parametrize("name", OF_CODES)
def test_a_rule_changes_cells_of_its_mask_alone_and_gives_legal_codes(name, codes, cells, context):
    before = codes.copy()
    after = replaced(name, codes, cells, context)
    assert np.array_equal(codes, before)  # the given codes are not written to
    assert after.shape == codes.shape and np.issubdtype(after.dtype, np.integer)
    assert np.array_equal(after[~cells], codes[~cells])
    assert after.min() >= 0 and after.max() < CODES
    assert (after != codes).any()
    if name not in UNSAFE:
        assert np.isin(after[cells], context.safe).all()


@pytest.mark.parametrize("name", OF_CODES)
def test_a_rule_given_no_cell_changes_nothing(name, codes, context):
    assert np.array_equal(replaced(name, codes, np.zeros(codes.shape, bool), context), codes)


@pytest.mark.parametrize("name", OF_CODES)
def test_a_rule_gives_the_same_in_each_scope_whichever_came_first(name, codes, cells, context):
    """What it found out for one scope is of use to the next, and changes nothing there."""
    settings, fresh = SETTINGS.get(name, {}), lambda: dataclasses.replace(context, learned={})
    kept, everywhere = fresh(), np.ones_like(cells)
    for scope in (cells, everywhere, cells):
        after = RULES[name].replace(codes, scope, kept, np.random.default_rng(0), **settings)
        assert np.array_equal(after, replaced(name, codes, scope, fresh()))


@pytest.mark.parametrize("name", OF_CODES)
def test_the_seed_matters_to_random_rules_alone(name, codes, cells, context):
    first, again, other = (replaced(name, codes, cells, context, seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) == (name not in DRAWN)


def test_random_live_draws_from_all_live_codes(codes, context):
    after = replaced("random_live", np.tile(codes, (20, 1, 1)), np.ones((20 * IMAGES, SIDE, SIDE), bool), context)
    assert np.array_equal(np.unique(after), context.live)
    assert np.array_equal(context.live, np.arange(36))


def test_random_frequency_draws_by_the_counts(codes, context):
    many = np.tile(codes, (60, 1, 1))
    after = replaced("random_frequency", many, np.ones(many.shape, bool), context)
    found = np.bincount(after.ravel(), minlength=CODES)[context.safe] / after.size
    wanted = context.counts[context.safe] / context.counts[context.safe].sum()
    assert np.abs(found - wanted).max() < 5 * np.sqrt(wanted.max() / after.size)
    assert np.corrcoef(found, wanted)[0, 1] > 0.9


def test_fixed_takes_an_index_or_the_most_frequent_safe_code(codes, cells, context):
    rng = np.random.default_rng(0)
    assert (RULES["fixed"].replace(codes, cells, context, rng, index=0)[cells] == 0).all()
    mode = max(context.safe, key=lambda code: context.counts[code])
    assert (RULES["fixed"].replace(codes, cells, context, rng)[cells] == mode).all()


def test_shuffling_keeps_each_images_histogram_in_its_mask(codes, cells, context):
    after = replaced("shuffle_in_mask", codes, cells, context)
    for index in range(IMAGES):
        inside = cells[index]
        assert sorted(after[index][inside]) == sorted(codes[index][inside])
    assert (after[5] != codes[5]).mean() > 0.5


def test_border_fill_takes_a_nearest_code_outside(codes, cells, context):
    after = replaced("border_fill", codes, cells, context)
    for index, row, column in np.argwhere(cells[:5]):
        outside = np.argwhere(~cells[index])
        distance = ((outside - [row, column]) ** 2).sum(1)
        nearest = outside[distance == distance.min()]
        assert after[index, row, column] in codes[index][tuple(nearest.T)]
    assert np.array_equal(after[5], codes[5])  # nothing is outside


def test_nn_embed_is_the_nearest_other_safe_code(codes, cells, context):
    after = replaced("nn_embed", codes, cells, context)
    table = context.codebook.astype(np.float64)
    for before, now in set(zip(codes[cells], after[cells], strict=True)):
        others = [code for code in context.safe if code != before]
        distance = [np.linalg.norm(table[before] - table[code]) for code in others]
        assert now == others[int(np.argmin(distance))]


def test_nn_proj_is_the_safe_code_of_the_most_alike_direction(codes, cells, context):
    rows = context.codebook
    if context.model.config.quantiser == "gumbel":
        rows = context.model.quantize.proj.weight[:, :, 0, 0].numpy()
    after = replaced("nn_proj", codes, cells, context)
    for before, now in set(zip(codes[cells], after[cells], strict=True)):
        others = [code for code in context.safe if code != before]
        cosine = [rows[before] @ rows[c] / np.linalg.norm(rows[before]) / np.linalg.norm(rows[c]) for c in others]
        assert now == others[int(np.argmax(cosine))]


def test_nn_decoded_is_the_safe_code_that_looks_most_alike(codes, cells, context):
    grids = np.broadcast_to(np.arange(CODES)[:, None, None], (CODES, 8, 8))
    with torch.inference_mode():
        shown = context.model.decode_codes(torch.from_numpy(grids.copy()))[..., 16:20, 16:20].flatten(1).numpy()
    after = replaced("nn_decoded", codes, cells, context)
    for before, now in set(zip(codes[cells], after[cells], strict=True)):
        distance = np.square(shown[before] - shown[context.safe]).sum(1)
        distance[context.safe == before] = np.inf
        assert distance[context.safe == now][0] == pytest.approx(distance.min(), rel=1e-3)


def test_pairs_are_how_often_a_code_follows_another_in_the_bank(context):
    bank = context.bank.astype(int)
    for direction, first, second in (
        ((0, 1), bank[:, :, :-1], bank[:, :, 1:]),
        ((1, 0), bank[:, :-1], bank[:, 1:]),
    ):
        expected = np.zeros((CODES, CODES), np.int64)
        np.add.at(expected, (first.ravel(), second.ravel()), 1)
        assert np.array_equal(context.pairs(direction), expected)


def test_nn_cooccurrence_finds_the_code_of_the_same_company(codes, cells, context, monkeypatch):
    # Explicit code 30 keeps exactly the company of safe code 7.
    tables = {}
    for direction in ((0, 1), (1, 0)):
        table = context.pairs(direction).copy()
        table[30], table[:, 30] = table[7], table[:, 7]
        table[7, 30] = table[30, 7] = table[30, 30] = table[7, 7] = 0
        tables[direction] = table
    monkeypatch.setattr(Context, "pairs", lambda context, direction: tables[direction])
    after = replaced("nn_cooccurrence", codes, cells, context_of("nearest"))
    mine = cells & (codes == 30)
    assert mine.any() and (after[mine] == 7).all()


@pytest.mark.parametrize("dim", [4, 256])
def test_nearest_safe_is_exact_for_a_tight_codebook_far_from_the_origin(dim):
    """8,192 codes of N(1, 1e-3): about the origin float32 gets 239 (dim 4) and 250 (dim 256) of 250 wrong."""
    book = np.random.default_rng(0).normal(1, 1e-3, (8192, dim)).astype(np.float32)
    codes = np.arange(250)
    exact = cdist(book[codes].astype(np.float64), book.astype(np.float64))
    exact[codes, codes] = np.inf
    assert np.array_equal(nearest_safe(codes, np.arange(8192), lambda some: book[some]), exact.argmin(1))
    assert np.allclose(squared_distances(book[codes], book[250:]), exact[:, 250:] ** 2, rtol=1e-3, atol=1e-9)


def test_nearest_safe_never_returns_the_code_itself_and_describes_only_what_occurs(monkeypatch):
    monkeypatch.setattr("palimpsest.lcr.context.BLOCK", 4)
    asked = []

    def describe(codes):
        asked.extend(codes)
        return codes[:, None].astype(float)

    codes, safe = np.array([[0, 1, 2], [3, 4, 5], [5, 9, 0]]), np.array([0, 2, 3])
    assert nearest_safe(codes, safe, describe).tolist() == [[2, 0, 3], [2, 3, 3], [3, 3, 2]]
    assert asked == [0, 1, 2, 3, 4, 5, 9]
    assert nearest_safe(codes[:0], safe, describe).shape == (0, 3)


def test_masked_requant_is_the_best_safe_code_of_the_encoder(cells, context):
    with torch.inference_mode():
        logits = context.model.encode_logits(to_tensor(context.images)).numpy()
    codes = logits.argmax(1)
    after = replaced("masked_requant", codes, cells, context)
    for index, row, column in np.argwhere(cells):
        best = max(context.safe, key=lambda code: logits[index, code, row, column])
        assert after[index, row, column] == best
    already = cells & np.isin(codes, context.safe)
    assert np.array_equal(after[already], codes[already])


def test_twin_gives_the_twins_codes(codes, cells, context):
    assert np.array_equal(replaced("twin", codes, cells, context)[cells], context.twin_codes[cells])


@pytest.mark.parametrize("shift", [(0, 0), (2, -1), (-1, 2)])
def test_donor_patch_copies_from_a_grid_that_fits_exactly(codes, shift):
    context = context_of("nearest")
    cells = np.zeros(codes.shape, bool)
    cells[:, 3:5, 3:5] = True
    bank = context.bank.copy()
    filling = np.arange(4).reshape(2, 2) + 10
    planted = codes[0].copy()
    planted[3:5, 3:5] = filling
    bank[5] = np.roll(planted, shift, (0, 1))
    after = replaced("donor_patch", codes[:1], cells[:1], context_of("nearest", bank=bank))
    assert np.array_equal(after[0, 3:5, 3:5], filling)


def test_donor_patch_takes_the_grid_of_the_least_misfit(codes):
    context, cells = context_of("nearest"), np.zeros(codes.shape, bool)
    cells[:, 0:2, 4:7] = True  # at the edge: no shift upwards
    after = replaced("donor_patch", codes, cells, context)
    ring = np.zeros((SIDE, SIDE), bool)
    ring[0:3, 3:8] = True
    ring &= ~cells[0]
    table = context.codebook.astype(np.float64)
    for index in range(IMAGES):
        options = []
        for down in range(3):
            for right in range(-2, 1):
                for grid in context.bank:
                    moved = np.roll(grid, (-down, -right), (0, 1)).astype(int)
                    misfit = np.square(table[codes[index][ring]] - table[moved[ring]]).sum()
                    options.append((misfit, moved[cells[0]].tolist()))
        assert after[index][cells[0]].tolist() == min(options)[1]


def test_context_icm_recovers_a_chain_of_neighbours():
    # The code of a cell is its row plus its column plus an offset: neighbours leave one possibility.
    place = np.add.outer(np.arange(SIDE), np.arange(SIDE))
    bank = np.stack([place + offset for offset in range(12)])
    counts = np.bincount(bank.ravel(), minlength=CODES)
    context = context_of("nearest", bank=bank, counts=counts)
    cells = np.zeros((3, SIDE, SIDE), bool)
    cells[0, 3, 4] = cells[1, 2, 2:5] = cells[2, 1, 1] = cells[2, 5:7, 6] = True
    truth = np.stack([place + offset for offset in (1, 5, 9)])
    broken = np.where(cells, 33, truth)
    assert np.array_equal(replaced("context_icm", broken, cells, context), truth)


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)], ids=["left", "right", "above", "below"])
def test_context_icm_reads_each_of_the_four_sides(place):
    # One step to the right adds one to the code, one step down adds five; a cell with one neighbour is filled.
    offsets = np.arange(20)[:, None, None]
    bank = offsets + np.add.outer(5 * np.arange(3), np.arange(3))
    counts = np.bincount(bank.ravel(), minlength=CODES)
    context = context_of("nearest", bank=bank, counts=counts)
    down, second = place
    truth = 7 + np.array([0, 5 if down else 1]).reshape((1, 2, 1) if down else (1, 1, 2))
    cells = np.zeros(truth.shape, bool)
    cells.reshape(-1)[second] = True
    assert np.array_equal(replaced("context_icm", np.where(cells, 33, truth), cells, context), truth)


def test_a_learned_map_sends_a_code_to_one_safe_code(codes, cells, context):
    after = replaced("learned_map", codes, cells, context)
    for code in np.unique(codes[cells]):
        assert len(np.unique(after[cells & (codes == code)])) == 1


# Edits of pixels


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(2).integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", OF_PIXELS)
def test_a_baseline_paints_its_region_alone(name, pictures, cells):
    region = to_pixels(cells, (32, 32))
    before = pictures.copy()
    made = RULES[name].paint(pictures, region)
    assert np.array_equal(pictures, before) and made.dtype == np.uint8
    assert np.array_equal(made[~region], pictures[~region])
    for index in np.flatnonzero(region.any((1, 2))):
        inside, plain = made[index][region[index]], pictures[index][region[index]].astype(float)
        # Every baseline takes detail away; what it is differs.
        assert inside.std(0).max() < 0.5 * plain.std(0).min()
        if name == "black":
            assert not inside.any()
        elif name == "mean_colour":
            assert np.abs(inside - plain.mean(0)).max() <= 0.5
        else:
            assert np.abs(inside.mean(0) - plain.mean(0)).max() < 40


# Applying


def test_an_edit_decodes_its_codes(codes, cells, context, pictures):
    edit = apply(RULES["random_safe"], Variant("mask", "all", 0), codes, cells, pictures, context, {})
    assert np.array_equal(edit.changed, edit.codes != codes)
    assert np.array_equal(edit.pictures, decode(context.model, edit.codes))


def test_a_rule_that_leaks_is_an_error(codes, cells, context, pictures):
    def leak(codes, cells, context, rng):
        after = np.where(cells, 0, codes)
        after[3, 0, 0] = (codes[3, 0, 0] + 1) % CODES  # image 3 has no cell
        return after

    with pytest.raises(RuntimeError, match="leaky changed cells outside its scope"):
        leaky = SimpleNamespace(__name__="leaky", replace=leak)
        apply(leaky, Variant("mask", "all", 0), codes, cells, pictures, context, {})


def scope_of(variant, codes, cells, context, pictures):
    """The cells that a variant hands to a rule of codes."""
    seen = []

    def keep(codes, cells, context, rng):
        seen.append(cells)
        return codes

    apply(SimpleNamespace(__name__="keep", replace=keep), variant, codes, cells, pictures, context, {})
    return seen[0]


def test_scopes_are_the_mask_the_same_area_elsewhere_and_everything(codes, cells, context, pictures):
    given = codes, cells, context, pictures
    assert np.array_equal(scope_of(Variant("mask", "all", 0), *given), cells)
    assert scope_of(Variant("global", "all", 0), *given).all()
    elsewhere = scope_of(Variant("elsewhere", "all", 0), *given)
    assert np.array_equal(elsewhere.sum((1, 2)), cells.sum((1, 2)))
    assert not (elsewhere & cells)[:3].any()
    assert not np.array_equal(elsewhere, scope_of(Variant("elsewhere", "all", 1), *given))


@pytest.mark.parametrize("scope", ["mask", "global"])
def test_explicit_touches_explicit_codes_alone(scope, codes, cells, context, pictures):
    found = scope_of(Variant(scope, "explicit", 0), codes, cells, context, pictures)
    within = cells if scope == "mask" else np.ones_like(cells)
    assert np.array_equal(found, within & (codes >= 30))
    edit = apply(RULES["random_safe"], Variant(scope, "explicit", 0), codes, cells, pictures, context, {})
    assert np.array_equal(edit.changed, found)  # an explicit code always becomes another one


def test_variants_leave_out_what_a_rule_has_no_use_for():
    grid = [["mask", "all"], ["mask", "explicit"], ["elsewhere", "all"], ["global", "explicit"]]
    params = {"variants": grid, "seeds": [0, 1]}
    names = {rule: [variant.name for variant in variants(RULES[rule], params)] for rule in RULES}
    assert len(names["random_safe"]) == 8
    assert names["nn_embed"] == ["mask-all-0", "mask-explicit-0", "elsewhere-all-0", "global-explicit-0"]
    assert names["black"] == ["mask-all-0", "elsewhere-all-0"]
    swept = variants(RULES["nn_embed"], {"variants": [["global", "explicit"]], "seeds": [0], "tops": [5, 9]})
    assert [variant.name for variant in swept] == ["global-explicit-0-5", "global-explicit-0-9"]


# Measuring: a rule that really removes the concept


@pytest.fixture(scope="module")
def released():
    """Scenes with an emblem, their twins, and the released judges."""
    original, twin = (scenes.make(60, 777, "test", emblem=emblem) for emblem in ("all", "twin"))
    folder = ROOT / "resources/models"
    networks = Judges.load(
        {"module": "emblem", "params": {"channels": "rgb"}},
        folder / "detector_judge.safetensors",
        folder / "classifier_judge.safetensors",
    )
    return original, twin, networks


@pytest.fixture(scope="module")
def measured(released):
    """The measurements of two edits of scenes with an emblem: into their twins, and into themselves."""
    original, twin, networks = released
    cells = original.masks.reshape(60, 16, 4, 16, 4).any((2, 4))
    evaluation = Evaluation(networks, ["emblem"], original.images, cells, original.manifest, twin.images)
    rows = {}
    for name, pictures in (("removed", twin.images), ("same", original.images)):
        changed = np.broadcast_to(name == "removed", cells.shape) & cells
        summary = evaluation.summary(evaluation.per_image(pictures, changed), True)
        rows[name] = {row["metric"]: row["value"] for row in summary}
    return rows, cells


def test_a_removed_concept_is_measured_as_forgotten(measured):
    removed = measured[0]["removed"]
    assert removed["detection_rate"] <= 0.05 and removed["score_drop"] > 0.7 and removed["mcnemar_p"] < 1e-6
    assert removed["new_detections"] <= 0.02


def test_an_edit_that_changes_nothing_is_not(measured):
    same = measured[0]["same"]
    assert same["detection_rate"] >= 0.95 and same["score_drop"] == 0 and same["mcnemar_p"] == 1
    assert same["psnr"] == float("inf") and same["ssim"] == pytest.approx(1) and same["lpips_mini"] == 0
    assert same["cells_changed"] == 0


def test_the_price_of_removing_the_concept_is_paid_inside_the_mask(measured):
    rows, cells = measured
    removed, same = rows["removed"], rows["same"]
    assert np.isfinite(removed["psnr"]) and removed["psnr_outside"] == float("inf")
    # Exactly: the features of a pixel outside read into the mask, and must not take its change for theirs.
    assert removed["lpips_mini"] > 0 == removed["lpips_mini_outside"]
    assert removed["ssim"] < removed["ssim_outside"] <= 1
    assert removed["twin_lpips_mini"] == 0 < same["twin_lpips_mini"]
    assert removed["cells_changed"] == pytest.approx(cells.mean())
    for factor in scenes.FACTORS:
        assert removed[f"{factor}_accuracy"] >= 0.95


def test_a_change_outside_the_mask_is_measured_there_and_in_full(released):
    """With nothing changed inside, composing the picture with the reconstruction leaves it as it is."""
    original, twin, networks = released
    nowhere = np.zeros((len(original.images), 16, 16), bool)
    nowhere[:, 0, 0] = True
    evaluation = Evaluation(networks, ["emblem"], original.images, nowhere, original.manifest)
    table = evaluation.per_image(twin.images, None)
    assert (table["lpips_mini_outside"] > 0).all()
    # The corner that is left out holds no emblem: the means differ by the number of pixels alone, but for its edge.
    kept = 1 - evaluation.near.mean((1, 2))
    np.testing.assert_allclose(table["lpips_mini_outside"] * kept, table["lpips_mini"], rtol=0.05)


def test_an_unedited_concept_is_found_whatever_the_mask_covers(released):
    """A mask that missed the object must not make its owner look forgotten, nor its find look new."""
    original, _, networks = released
    exact = original.masks.reshape(len(original.images), 16, 4, 16, 4).any((2, 4))
    empty, wrong = np.zeros_like(exact), np.roll(exact, 8, axis=2)
    rates = []
    for cells in (exact, empty, wrong):
        evaluation = Evaluation(networks, ["emblem"], original.images, cells, original.manifest)
        summary = evaluation.summary(evaluation.per_image(original.images, None), True)
        found = {row["metric"]: row["value"] for row in summary}
        assert found["new_detections"] == 0 == found["score_drop"]
        rates.append(found["detection_rate"])
    assert rates[0] >= 0.95 and rates == rates[:1] * 3


def test_a_find_is_new_where_neither_the_mask_nor_the_reconstruction_has_one():
    """Three pictures: the concept stays, moves within the mask, and turns up elsewhere. All show it still."""
    before, after = [(8, 8), (40, 40), (8, 8)], [(9, 9), (44, 40), (50, 50)]

    def boxes(centres):
        corners = [[x - 3, y - 3, x + 3, y + 3] for x, y in centres]
        nothing = np.zeros(len(centres), int)
        return Detections(np.arange(len(centres)), nothing, np.full(len(centres), 0.9), np.array(corners, float))

    pictures = np.zeros((3, 64, 64, 3), np.uint8)
    cells = np.zeros((3, 16, 16), bool)
    cells[1, 9:12, 9:12] = True  # the other masks are empty: their concept is known from the reconstruction
    networks = Judges(lambda given: boxes(after if given.any() else before), ("emblem",), None)
    table = Evaluation(networks, ["emblem"], pictures, cells, None).per_image(pictures + 1, None)
    assert table["score"].tolist() == [0.9, 0.9, 0.9]
    assert table["score_new"].tolist() == [0, 0, 0.9]


def test_the_operating_threshold_is_one_of_the_sweep():
    assert THRESHOLD in SWEEP and list(SWEEP) == sorted(SWEEP)
