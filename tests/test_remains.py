"""The comparison over families: its readings, its arithmetic of estimates, and what it says of all methods together."""

import json

import numpy as np
import pandas as pd
import pytest

from conftest import ROOT, configuration
from palimpsest.metrics import measurements
from palimpsest.metrics.intervals import wilson
from palimpsest.metrics.measurements import row
from palimpsest.plan.remains import Remains
from palimpsest.remains import compare, readings
from palimpsest.remains.readings import around, between, less, together
from palimpsest.report import claims, style
from palimpsest.report.lookup import Lookup
from palimpsest.report.parts import part_of
from palimpsest.report.typeset import Estimate

COUNT = 40


PARAMS = {"models": ["tiny_sd"], "kinds": {"tiny_sd": "erasure"}}


def rate(metric, share, **labels):
    """A share over COUNT pictures as families write it."""
    return row(metric, share, *wilson(round(share * COUNT), COUNT), n=COUNT, **labels)


def concepts(shown, reminded, kept=0.9):
    """What a family of concepts measures of a model: by concept, of those with an oracle and of another."""
    for concept in ("church", "stripes"):
        yield rate("erased", 1 - shown if concept == "church" else 0.3, prompts="own", concept=concept)
        yield rate("recovered", shown, prompts="own", concept=concept)
        yield rate("recovered", reminded, prompts="noised", concept=concept)
        yield rate("recovered", shown, prompts="synonym", concept=concept)
        yield rate("kept", kept, prompts="neighbour", concept=concept)
        yield rate("kept", kept + 0.05, prompts="rest", concept=concept)
        yield row("perceptual", 0.1, 0.08, 0.12, n=COUNT, prompts="rest", concept=concept)


SHOWN = {
    "pretrained": (1.0, 1.0), "oracle": (0.0, 0.2), "control": (1.0, 1.0),
    "hides": (0.1, 0.9), "forgets": (0.0, 0.2), "nothing": (1.0, 1.0),
}  # fmt: skip
SETTINGS = {"methods": ["control", "hides", "forgets", "nothing"], "study": "comparison", "reminder": "noised"}
SETTINGS |= {"oracles": ["church", "red"], "concepts": ["church", "stripes"], "controls": ["control"]}


PARAMS |= {"methods": {"tiny_sd": SETTINGS["methods"]}}


@pytest.fixture
def erasure(tmp_path):
    lines = []
    for method, (shown, reminded) in SHOWN.items():
        study = "networks" if method in ("pretrained", "oracle") else "comparison"
        lines += [{**line, "method": method, "study": study} for line in concepts(shown, reminded)]
    measurements.write(tmp_path / "erasure.parquet", lines, family="erasure", model="tiny_sd")
    return tmp_path / "erasure.parquet"


@pytest.fixture
def compared(erasure, tmp_path):
    """What the step makes of it."""
    compare.compare([erasure], tmp_path / "compared.parquet", families={"erasure": {"tiny_sd": SETTINGS}})
    return Lookup([tmp_path / "compared.parquet"], "remains", model="tiny_sd")


def test_between_is_one_at_the_pretrained_model_and_nothing_where_it_is_not_above_the_oracle():
    pretrained, oracle = around(0.9, 0.05), around(0.1, 0.05)
    assert between(pretrained, oracle, pretrained) == (1, 1, 1)
    assert between(oracle, oracle, pretrained) == (0, 0, 0)
    assert between(around(0.5, 0.0), oracle, pretrained).value == pytest.approx(0.5)
    for less_, more in (
        (around(0.45, 0.1), around(0.5, 0.1)),
        (around(0.9, 0.01), around(0.1, 0.01)),
        (oracle, readings.NOTHING),
    ):
        assert np.isnan(between(around(0.3, 0.01), less_, more).value)


def test_the_errors_of_between_are_those_that_chance_gives_it():
    rng = np.random.default_rng(0)
    given, oracle, pretrained = around(0.3, 0.04), around(0.1, 0.02), around(0.9, 0.03)
    draws = [
        each.value + (each.high - each.value) / 1.96 * rng.standard_normal(200_000)
        for each in (given, oracle, pretrained)
    ]
    spread = 1.96 * np.std((draws[0] - draws[1]) / (draws[2] - draws[1]))
    found = between(given, oracle, pretrained)
    assert found.high - found.value == pytest.approx(spread, rel=0.02)


def test_a_difference_has_the_errors_of_both():
    assert less(around(0.9, 0.3), around(0.4, 0.4)) == pytest.approx((0.5, 0.0, 1.0))


def test_concepts_count_by_their_pictures():
    rows = pd.DataFrame(
        {"concept": ["a", "b", "c"], "value": [1.0, 0.0, 0.5], "low": np.nan, "high": np.nan, "n": [30, 10, 99]}
    )
    assert together(rows, ["a", "b"]).value == 0.75
    assert np.isnan(together(rows, ["d"]).value)


def test_what_is_reminded_is_seen_where_asking_sees_nothing(compared):
    assert compared.get("asked", method="hides").value == pytest.approx(0.1)
    assert compared.get("suppressed", method="hides").value == pytest.approx(0.9)
    assert compared.get("returned", method="hides").value == pytest.approx(0.875)
    assert compared.get("returned", method="forgets").value == pytest.approx(0)
    # Of two attacks: noised .7 beyond the oracle, synonym .1.
    assert compared.get("attacked", method="hides").value == pytest.approx(0.4)
    assert compared.get("suppressed", method="nothing").value == pytest.approx(0)


def test_the_oracle_and_the_pretrained_model_are_the_ends(compared):
    ends = {"suppressed": {"pretrained": 0, "oracle": 1}, "returned": {"pretrained": 1, "oracle": 0}}
    for metric, expected in ends.items():
        for method, value in expected.items():
            assert compared.get(metric, method=method) == (value, value, value), (metric, method)


def test_shares_are_of_methods_by_their_intervals_and_of_no_control(compared):
    shares = {"suppressing": (2 / 3, 3), "unsuppressing": (1 / 3, 3), "remembering": (0.5, 2), "forgetting": (0.5, 2)}
    for metric, (value, count) in shares.items():
        found = compared.row(metric, method="all")
        assert found[["value", "n"]].tolist() == pytest.approx((value, count)), metric
        assert found[["low", "high"]].tolist() == pytest.approx(wilson(round(value * count), count)), metric


def test_a_model_that_changed_nothing_makes_no_neighbour_pay(compared):
    assert compared.get("near_pays", method="all").value == pytest.approx(0)


def test_each_half_of_the_seeds_is_asked_too(erasure, tmp_path):
    table = pd.read_parquet(erasure)
    # What another seed trained forgot nothing.
    other = table[table["method"] == "forgets"].assign(seed=1, value=0.9, low=0.85, high=0.95)
    other.loc[other["metric"] == "erased", ["value", "low", "high"]] = 0.1, 0.05, 0.15
    pd.concat([table, other]).to_parquet(tmp_path / "seeds.parquet")
    compare.compare(
        [tmp_path / "seeds.parquet"], tmp_path / "halves.parquet", families={"erasure": {"tiny_sd": SETTINGS}}
    )
    found = Lookup([tmp_path / "halves.parquet"], "remains", model="tiny_sd")
    values = [
        found.get("asked", method="forgets", **half).value for half in ({}, {"half": "first"}, {"half": "second"})
    ]
    assert values == pytest.approx([0.45, 0.0, 0.9])
    shares = [found.of(half=half).get("suppressing", method="all").value for half in ("first", "second")]
    assert shares == pytest.approx([2 / 3, 1 / 3])
    (_, second) = found.halves()
    assert second.get("suppressing", method="all").value == pytest.approx(1 / 3)


def test_without_an_oracle_nothing_is_said_beyond_it(erasure, tmp_path):
    table = pd.read_parquet(erasure)
    table[table["method"] != "oracle"].to_parquet(tmp_path / "without.parquet")
    settings = {**SETTINGS, "oracles": []}
    compare.compare(
        [tmp_path / "without.parquet"], tmp_path / "out.parquet", families={"erasure": {"tiny_sd": settings}}
    )
    absent = ("suppressed", "returned", "attacked", "suppressing", "remembering")
    found = Lookup([tmp_path / "out.parquet"], "remains", absent)
    assert found.get("asked", method="hides").value == pytest.approx((0.1 + 0.7) / 2)  # of every concept then
    for metric in absent:
        assert found.rows(metric).empty
    table = part_of("remains", "tables", "methods")
    lookup = Lookup([tmp_path / "out.parquet"], "remains", table.OPTIONAL)
    assert np.isnan(table.build(lookup, PARAMS).frame["Returned"].iloc[2].value)


def test_a_reminder_that_tells_nothing_apart_says_nothing(tmp_path):
    def read(asked, reminded):
        return readings.Read(*(around(value, 0.01) for value in (asked, reminded, 0.9, 0.9, 0.1)), {}, True)

    known = {"pretrained": read(1.0, 0.97), "oracle": read(0.0, 0.96)}
    lines = list(compare.over_methods({**known, **{f"m{n}": read(0.1, 0.9 + n / 100) for n in range(6)}}))
    assert {line["metric"]: line["value"] for line in lines}["suppressing"] == 1
    assert not [line for line in lines if line["metric"] in ("remembering", "forgetting")]


def test_each_family_is_read_from_its_own_file(erasure, tmp_path):
    """The plan's order of families is that of their files."""
    plan = Remains(configuration())
    families = json.loads(plan.settings())
    assert [f"<results>/{name}/measurements.parquet" for name in families] == plan.collections()
    assert list(families) == [name for name in ("lcr", "instance", "erasure", "var") if name in plan.config["families"]]
    lines = [
        rate("detection_rate", 0.5, method="black", set="test", scope="mask", cells="all", top="", preset="corrected")
    ]
    measurements.write(tmp_path / "lcr.parquet", lines, family="lcr", model="tiny_vq")
    given = {"lcr": {"tiny_vq": {"methods": ["black"], "sets": {"forget_test": "test"}, "controls": []}}}
    given["erasure"] = {"tiny_sd": SETTINGS}
    compare.compare([tmp_path / "lcr.parquet", erasure], tmp_path / "both.parquet", families=given)
    found = Lookup([tmp_path / "both.parquet"], "remains")
    assert found.get("asked", model="tiny_vq", method="black").value == 0.5
    assert found.get("asked", model="tiny_sd", method="hides").value == pytest.approx(0.1)


def test_a_ranking_needs_methods_and_follows_them(tmp_path):
    def read(asked, reminded):
        return readings.Read(*(around(value, 0.01) for value in (asked, reminded, 0.9, 1 - asked / 2, 0.1)), {}, True)

    known = {"pretrained": read(1.0, 1.0), "oracle": read(0.0, 0.1)}
    few = list(compare.over_methods({**known, **{f"m{n}": read(n / 10, n / 10) for n in range(4)}}))
    assert not [line for line in few if line["metric"].startswith("rank")]
    many = list(compare.over_methods({**known, **{f"m{n}": read(n / 10, 1 - n / 10) for n in range(8)}}))
    ranks = {line["metric"]: line["value"] for line in many if line["metric"].startswith("rank")}
    assert ranks == {"rank_reminded": pytest.approx(-1), "rank_rest": pytest.approx(-1)}


def test_codes_are_read_inside_the_region(tmp_path):
    def edit(method, found, **labels):
        labels = {"set": "test", "method": method, "preset": "corrected", **labels}
        yield rate("detection_rate", found, **labels)
        for factor in readings.FACTORS:
            yield rate(f"{factor}_accuracy", 0.8 if labels["scope"] == "" else 0.4, **labels)
        yield row("ssim_outside", 0.95, 0.94, 0.96, n=COUNT, **labels)
        yield row("lpips_mini_outside", 0.02, 0.01, 0.03, n=COUNT, **labels)

    local = {"scope": "mask", "cells": "all", "top": ""}
    lines = [*edit("reconstruction", 1.0, scope="", cells="", top=""), *edit("twin", 0.0, **local)]
    lines += [*edit("black", 0.1, **local), *edit("black", 0.6, scope="elsewhere", cells="all", top="")]
    measurements.write(tmp_path / "lcr.parquet", lines, family="lcr", model="tiny_vq", concept="emblem")
    settings = {"methods": ["black"], "sets": {"forget_test": "test"}}
    found = dict(readings.codes(Lookup([tmp_path / "lcr.parquet"], "lcr", readings.METRICS, model="tiny_vq"), settings))
    assert [found[name].asked.value for name in ("pretrained", "oracle", "black")] == pytest.approx([1.0, 0.0, 0.1])
    assert found["black"].near.value == pytest.approx(0.5) and found["black"].rest.value == pytest.approx(0.95)
    # Nobody can remind a picture; and no gap of two units is taken for a loss.
    assert np.isnan(found["black"].reminded.value) and not found["black"].attacks
    assert "near_pays" not in {line["metric"] for line in compare.over_methods(found)}


def test_images_are_read_over_single_targets(tmp_path):
    lines = []
    for method, (asked, reminded, lost) in {"pretrained": (0.97, 0.99, 0), "siss": (0.2, 0.6, -0.1)}.items():
        for targets, count, less_ in (("mean", 1, 0.0), ("mean", 2, 0.1), ("single-1", 1, 0.1)):
            labels = {"method": method, "study": "comparison", "targets": targets, "count": count}
            lines.append(row("similarity_target", asked - less_, asked - 0.2, asked + 0.2, n=16, **labels))
            lines.append(row("similarity_reminded", reminded, reminded - 0.1, reminded + 0.1, n=16, **labels))
            for kind in ("neighbour", "stranger"):
                lines.append(row("collateral", lost, n=6, kind=kind, **labels))
    measurements.write(tmp_path / "instance.parquet", lines, family="instance", model="tiny_ddpm")
    lookup = Lookup([tmp_path / "instance.parquet"], "instance", readings.METRICS, model="tiny_ddpm")
    found = dict(readings.images(lookup, {"methods": ["siss"], "study": "comparison"}))
    assert found["siss"].asked == pytest.approx((0.2, 0.0, 0.4))
    assert found["siss"].reminded.value == pytest.approx(0.6)
    assert found["siss"].near.value == found["siss"].rest.value == pytest.approx(0.9)
    assert np.isnan(found["oracle"].asked.value)


def test_the_table_and_the_figure_show_every_method_once(compared, tmp_path):
    lookup = Lookup([tmp_path / "compared.parquet"], "remains")
    table = part_of("remains", "tables", "methods").build(lookup, PARAMS)
    assert table.frame["Method"].tolist() == ["pretrained", "oracle (retrained)", *SETTINGS["methods"]]
    assert isinstance(table.frame["Returned"].iloc[2], Estimate)
    figure = part_of("remains", "figures", "overview").draw(lookup, [], PARAMS)
    marks = [line for line in figure.axes[0].lines if line.get_label().startswith("a method")]
    assert [len(line.get_xdata()) for line in marks] == [len(SETTINGS["methods"])] * 2
    style.save(figure, tmp_path / "figure.pdf", tmp_path / "figure.png")


# The claims

CLAIMS = claims.read([ROOT / "config/claims/remains.yaml"])
# For each claim what it reads: metric, method, value for it to hold, to fail, and to be mixed.
MADE = {
    "asking_tells": [
        ("asked", "pretrained", 0.95, 0.95, 0.5),
        ("asked", "oracle", 0.1, 0.94, 0.44),
    ],
    "most_suppress": [("suppressing", "all", 0.8, 0.1, 0.52), ("unsuppressing", "all", 0.1, 0.7, 0.4)],
    "suppressed_remains": [("remembering", "all", 0.8, 0.1, 0.52), ("forgetting", "all", 0.9, 0.7, 0.52)],
    "asking_foretells": [("rank_reminded", "all", 0.8, 0.1, 0.5)],
    "forgetting_costs": [("rank_rest", "all", 0.5, -0.5, 0.0)],
    "neighbours_pay": [("near_pays", "all", 0.2, -0.2, 0.0)],
}


@pytest.mark.parametrize("column", [2, 3, 4], ids=[claims.HOLDS, claims.FAILS, claims.MIXED])
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim["id"])
def test_a_claim_can_hold_fail_and_be_mixed(claim, column, tmp_path):
    lines = [
        row(line[0], line[column], line[column] - 0.04, line[column] + 0.04, n=9, method=line[1], model="tiny_sd")
        for line in MADE[claim["id"]]
    ]
    measurements.write(tmp_path / "made.parquet", lines, family="remains")
    optional = claims.may_lack([ROOT / "config/claims/remains.yaml"])["remains"]
    judged = claims.judge(claim, Lookup([tmp_path / "made.parquet"], "remains", optional), ["tiny_sd"])
    assert judged["verdict"] == (claims.HOLDS, claims.FAILS, claims.MIXED)[column - 2]
