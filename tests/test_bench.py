"""The benchmark: its table is complete, and both of its ways do the same. No time is asserted."""

import sys

import numpy as np
import pytest
import torch

from palimpsest.lcr.codes import count_codes, patches
from palimpsest.run import ROOT

sys.path.insert(0, str(ROOT))  # the benchmark is no part of the package

from bench import lcr, original, ours
from bench.__main__ import PARTS, main
from bench.measure import COLUMNS, Stopwatch, take_turns

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
    assert set(PARTS) == {"nudenet", "lcr", "instance", "counting", "scaling", "scenes"}
