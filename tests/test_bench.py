"""The benchmark: its table is complete, and both of its ways do the same. No time is asserted."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from palimpsest.lcr.codes import count_codes, patches
from palimpsest.run import ROOT

sys.path.insert(0, str(ROOT))  # the benchmark is no part of the package

from bench import erasure, lcr, memory, original, ours, var
from bench.__main__ import PARTS, main
from bench.measure import COLUMNS, Stopwatch, take_turns

from palimpsest.memory.decoder_inversion import decoder_of, invert_decoder
from palimpsest.memory.inversion import invert
from palimpsest.memory.predictors import of_text
from palimpsest.models import autoencoder, text_diffusion
from palimpsest.models.pixels import to_tensor, to_unit

SIZE = lcr.Size(lcr.SMALL, images=2, grids=6, repetitions=1, precisions=tuple(lcr.PRECISIONS))
NUMBERS = ["original", "ours", "gain", "processor gain", "original MB", "ours MB"]


@pytest.fixture(scope="module")
def results():
    """What the original's way and ours, in two precisions, give for the same images."""
    runs = lcr.pipelines(SIZE)
    chosen = ("original", "float32", "all bfloat16, channels last")
    return {name: way.result for name, way in take_turns({name: runs[name] for name in chosen}, 1).items()}


def test_both_ways_find_the_same_cells_codes_and_counts(results):
    first, second = results["original"], results["float32"]
    assert first["cells"].any((1, 2)).all() and not first["cells"].all()
    np.testing.assert_array_equal(first["cells"], second["cells"])
    np.testing.assert_array_equal(first["codes"], second["codes"])
    np.testing.assert_array_equal(first["counts"], second["counts"])
    assert len(np.unique(first["codes"])) > 10


def test_both_ways_give_the_same_edits_and_pictures(results):
    first, second = results["original"], results["float32"]
    for rule in ("fixed", "nn_embed"):
        assert (first["edited"][rule] != first["codes"]).any()
        np.testing.assert_array_equal(first["edited"][rule], second["edited"][rule])
        gap = np.abs(first["images"][rule].astype(int) - second["images"][rule])
        assert gap.max() <= 1  # a pixel on the edge of rounding
    for result in (first, second):  # the draws themselves are not shared
        changed = result["edited"]["random_safe"] != result["codes"]
        assert changed.any() and not (changed & ~first["cells"]).any()


def test_lower_precision_is_not_passed_off_as_equal(results):
    first, second = (results[name]["images"]["fixed"] for name in ("original", "all bfloat16, channels last"))
    assert (first != second).any()


def test_counting_scoring_and_replacing_agree():
    codes = lcr.SMALL.codes
    grids = [lcr.random_grids(5, lcr.SMALL, seed) for seed in (0, 1)]
    counters = [original.count(lcr.as_original(grid)) for grid in grids]
    counts = [count_codes(grid, codes) for grid in grids]
    for counter, count in zip(counters, counts, strict=True):
        assert [counter[code] for code in range(codes)] == count.tolist()
    assert original.ranking(*counters, codes) == ours.ranked(*counts).tolist()
    seen = original.count_patches(lcr.as_original(grids[0]))
    assert sorted(seen.values()) == sorted(np.bincount(patches(grids[0], 3, 3).ravel()).tolist())
    way = ours.Ours(lcr.network(lcr.SMALL, torch.device("cpu")), torch.device("cpu"), ours.Precision(), **lcr.CONCEPT)
    context = way.context(np.arange(0, codes, 4), counts[1])
    listed = lcr.as_original(grids[0])
    theirs = original.replaced_everywhere(listed, way.model.codebook, context.explicit, context.safe)
    made = ours.replaced(grids[0], np.isin(grids[0], context.explicit), context)
    for rule in ("fixed", "nn_embed"):
        np.testing.assert_array_equal(torch.cat(theirs[rule]).numpy(), made[rule])


@pytest.fixture(scope="module")
def released():
    """The released text-to-image model, two pictures and their captions."""
    return text_diffusion.open_model(memory.WEIGHTS), *memory.scenes_of(2)


def test_the_source_audits_as_described_and_ours_comes_nearer(released):
    model, pictures, captions = released
    theirs = memory.audit_original(model, pictures, captions, 10, Stopwatch())
    assert theirs.evaluations == 7 * 10  # 350 of 50 steps
    clean = autoencoder.encode(model.vae, pictures)[0].clone()
    predict, options = of_text(model, model.ids(captions)), {"iterations": 5, "tolerance": 0.0, "verify": True}
    solved = invert(predict, clean, **memory.told(model, 10), solver="renoise", **options)
    assert (solved.seeds - theirs.seeds).abs().max() < 1e-4
    torch.testing.assert_close(solved.residuals, theirs.residuals, rtol=0.05, atol=1e-5)
    made = memory.audit_ours(model, pictures, captions, 10, 1e-5, Stopwatch())
    assert made.residuals.mean() < theirs.residuals.mean() / 10 and made.evaluations < theirs.evaluations
    assert made.scores.shape == theirs.scores.shape == (2,)


def test_both_ways_invert_a_decoder_alike(released):
    model, pictures, _ = released
    decode, wanted = decoder_of(model.vae), to_unit(to_tensor(pictures))
    starts = autoencoder.encode(model.vae, pictures)[0].clone()
    theirs = memory.pairs_original(decode, wanted[:1], wanted, starts, 3, Stopwatch())
    options = {"learning_rate": memory.RATE, "steps": 3, "patience": 0}
    between = invert_decoder(decode, wanted, starts, **options).latents
    made = invert_decoder(decode, wanted[:1], between, **options).latents
    assert (theirs - starts).abs().max() > 0.03 and (theirs - made).abs().max() < 1e-4


def test_both_ways_of_an_erasure_step_train_the_same_weights():
    for method in ("salun", "scissorhands"):
        theirs, made = (
            train(erasure.TINY, method, Stopwatch()) for train in (erasure.train_original, erasure.train_ours)
        )
        before = torch.cat([each.reshape(-1) for each in erasure.network(erasure.TINY).parameters()])
        still = (made == before).float().mean()
        assert (theirs - made).abs().max() < 1e-6 < (theirs - before).abs().max()
        assert abs(still - 0.5) < 0.1 if method == "salun" else still < 0.1


def test_both_ways_of_esd_lead_away_alike():
    base, model = (erasure.network(erasure.TINY) for _ in range(2))
    erasure.select(model, "full")
    step = erasure.step_of(model, erasure.FlatParameters(model), erasure.context(erasure.TINY, base), erasure.TINY, 0)
    made = erasure.direction(step, "esd", erasure.TINY)
    noisy, times, _, conditions = erasure.esd.away_from_concept(step, erasure.ETA, erasure.GUIDANCE, 20, 1)
    step.parameters.clear()
    erasure.esd_loss(step, noisy, times, conditions).backward()
    torch.testing.assert_close(step.parameters.gradient(), made, rtol=1e-3, atol=1e-6)
    point, time, _ = erasure.esd_point(step)
    assert point.isfinite().all() and (time == time[0]).all() and 400 < time[0] < 600


def test_both_ways_of_uce_solve_the_same():
    theirs, made = (solve(erasure.FEW, Stopwatch()) for solve in (erasure.uce_original, erasure.uce_ours))
    for one, other in zip(theirs, made, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    before = [module.weight for _, module in erasure.uce.keys_and_values(erasure.matrices(erasure.FEW)[0])]
    assert all((one - other).abs().max() > 0.01 for one, other in zip(before, made, strict=True))


def test_both_ways_of_an_s_vare_iteration_train_the_same_weights_and_draw_the_same_bits():
    size = replace(var.TINY, iterations=3)
    theirs, made = (train(size, Stopwatch()) for train in (var.train_original, var.train_ours))
    before = torch.cat([each.reshape(-1) for each in var.chosen(var.model_of(size))])
    assert (theirs - made).abs().max() < 1e-6 < (theirs - before).abs().max()
    one, two = (draw(size, Stopwatch()) for draw in (var.draw_original, var.draw_ours))
    assert torch.equal(one, two) and 0 < one.float().mean() < 1


def test_the_rows_of_a_gpu_can_be_had_on_a_small_network_too():
    rows = memory.on_a_card(memory.TINY)
    assert len(rows) == 4 and all(row["ours"] > 0 and "evaluations" in row["remark"] for row in rows)


@pytest.mark.parametrize("stage", ["training", "drawing"])
def test_the_share_of_a_card_can_be_had_on_a_processor_too(stage):
    """Half the time an item is twice the operations a second, of as many."""
    told = [var.share_of_card(stage, var.TINY, {stage: each}) for each in (1e-3, 5e-4)]
    rates = [float(each.split()[0]) for each in told]
    # It computes in float32 as the product beside it does, and says that a training of `full` does not.
    assert "TFLOP/s in float32" in told[0] and ("bfloat16" in told[0]) == (stage == "training")
    assert rates[0] > 0 and rates[1] == pytest.approx(2 * rates[0], rel=0.02)
    # Both losses forwards and backwards through the blocks' layers alone are more than this.
    tokens, batch, width = 14, var.TINY.batch, var.TINY.width
    assert stage == "drawing" or rates[0] * 1e12 * 1e-3 > 2 * 2 * (2 * tokens * batch * 8 * width**2)


def test_the_stopwatch_counts_items():
    taken = take_turns({"way": lambda watch: lcr._timed(lambda: 7, 5, watch)}, 3)["way"]
    assert taken.result == 7 and taken.wall["all"] > 0
    watch = Stopwatch()
    for _ in range(2):
        with watch("stage", 3):
            pass
    assert watch.items["stage"] == 6


def test_the_table_is_complete(tmp_path):
    table = main(["--quick", "--folder", str(tmp_path)])
    assert list(table) == list(COLUMNS)
    for column in NUMBERS:
        values = np.array([value for value in table[column] if value != ""], float)
        assert len(values) and np.isfinite(values).all() and (values > 0).all(), column
    assert (table["ours"] != "").all() and not table.duplicated(["measure", "size"]).any()
    measures = " ".join(table["measure"])
    stages = ("encode", "decode", "detect", "all stages", "count codes", "score", "replace", "3x3 patches")
    for stage in (*stages, "memory-mapped", "ten times", "draw scenes", "NudeNet", "float32"):
        assert stage in measures
    against = table[table["measure"].str.match("encode|decode|detect|all|count codes|score|replace")]
    assert (against["gain"] != "").all()
    text = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert "QUICK" in text and "load average" in text and text.count("|\n") == len(table) + 2
    assert len((tmp_path / "bench.csv").read_text(encoding="utf-8").splitlines()) == len(table) + 1
    assert set(PARTS) == {"nudenet", "lcr", "instance", "erasure", "memory", "var", "counting", "scaling", "scenes"}
