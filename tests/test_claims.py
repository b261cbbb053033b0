"""The scorecard: every claim can hold and can fail, and the expression language does arithmetic and nothing else."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from palimpsest.instance.published import DOMAIN, KIND, PROJECTION, SEQUENCE, SINGLE, STRENGTH, WEIGHT
from palimpsest.metrics import measurements
from palimpsest.report import claims, collect
from palimpsest.report.lookup import Lookup, Missing, evaluate
from palimpsest.run import UserError
from synthetic_measurements import MODELS, around, write_run

CLAIMS = sorted((Path(__file__).parent.parent / "config/claims").glob("*.yaml"))
FOUND = {"metric": "detection_rate", "scope": "mask", "cells": "all"}
# For each claim the measurements to doctor: which rows, and their value (and interval) for it to hold and to fail.
DOCTORED = {
    "diffused": [({"metric": "recall_at_5_percent_false_hits", "unit": "1x1"}, 0.2, 0.9)],
    "entropy_near_maximum": [({"metric": "entropy_share_of_live"}, 0.95, 0.3)],
    "global_needs_many": [({"metric": "detection_rate", "scope": "global", "method": "random_safe"}, 0.9, 0.1)],
    "global_damage": [({"metric": "cells_changed", "set": "safe_test", "method": "random_safe"}, 0.5, 0.001)],
    "random_suppresses": [({**FOUND, "method": "random_safe"}, 0.05, 0.8)],
    "random_keeps_outside": [({"metric": "ssim_outside", "method": "random_safe"}, 0.99, 0.7)],
    "nearest_fails": [({**FOUND, "method": "nn_embed"}, 0.8, 0.1)],
    "composition": [({**FOUND, "method": "shuffle_in_mask"}, 0.1, 0.8)],
    "no_independent_meaning": [
        ({"metric": "histogram_cosine"}, 0.15, 0.4),
        ({"metric": "auc", "classifier": "bag", "source": "balanced", "evaluation": "figures"}, 0.5, 0.9),
    ],
    "linear_separates": [({"metric": "auc", "classifier": "full", "source": "confounded"}, 0.97, 0.6)],
    "survives_source": [({"metric": "auc", "evaluation": "swapped"}, 0.9, 0.4)],
    "local_decoder": [({"metric": "energy_beyond_receptive_field", "decoder": "real"}, 0.01, 0.3)],
    "injection_leaks": [({"metric": "codes_changed_outside"}, 0.3, 0.001)],
    "injection_above_floor": [({"metric": "injection_ratio", "against": "codes"}, 3.0, 1.0)],
    "legacy_coverage": [({"metric": "mask_share"}, 0.12, 0.05)],
    "draw_noise": [({"metric": "draw_agreement"}, 0.5, 0.999)],
    "pixels_suffice": [
        ({"metric": "twin_lpips_mini", "method": "random_safe"}, 0.001, 0.2),
        ({**FOUND, "method": "random_safe"}, 0.01, 0.9),
    ],
}


# Claims of instance unlearning, each with all that it reads: metric, labels, the value to hold and the value to fail.
UNPROMPTABLE, ONE, TWO = {"method": "unpromptable"}, {"count": 1}, {"count": 2}
THREE, COMPARED = ("neggrad_plus", "erasediff_port", "siss"), {"study": "comparison", "targets": "mean"}
BASELINES = [
    made
    for method in THREE
    for count in (1, 2)
    for made in (
        ("similarity_target", {"method": method, "targets": "mean", "count": count}, 0.2, 0.2),
        ("paired_perceptual", {"method": method, "count": count}, 0.4, -0.4),
    )
]
EDIT, LINEAR = {"study": "strength", "surrogate": "edit"}, {"setting": "exponent_1"}
AWARE, CONSTANT = "exponent_0.5", "constant_0.5"


def strengths(metric):
    """Falling from strength to strength, and rising once in between: then it fails, although it falls on the whole."""
    names = ("edit_weak", "edit_medium", "edit", "edit_strong")
    values = zip(names, (0.8, 0.5, 0.5, 0.2), (0.8, 0.2, 0.1, 0.3), strict=True)
    return [(metric, {"surrogate": name}, *pair) for name, *pair in values]


WIDTH = dict.fromkeys(("theorem_1_error", "theorem_2_error", "corollary_3_error"), 1e-14)
MADE = {
    "unpromptable_forgets": [
        ("similarity_target", UNPROMPTABLE, 0.1, 0.8),
        ("perceptual", UNPROMPTABLE, 0.3, 0.3),
        ("perceptual", {"method": "oracle"}, 0.4, 0.4),
        *(("plausible", {"method": method}, 0.5, 0.5) for method in ("unpromptable", "pretrained")),
    ],
    "oracle_generalises": [("similarity_target", {"method": "oracle"}, 0.9, 0.1)],
    "similarity_shows_membership": [
        *(("membership_gap", {"copies": copies}, 0.3, 0.01) for copies in ("none", "once", "often")),
    ],
    "best_on_tuning": [
        *(
            (f"tuning_{metric}", UNPROMPTABLE, value, value)
            for metric, value in (("similarity", 0.1), ("perceptual", 0.5))
        ),
        *(("tuning_similarity", {"method": method}, 0.2, 0.2) for method in THREE),
        *(("tuning_perceptual", {"method": method}, 0.9, 0.1) for method in THREE),
    ],
    "best_at_own_limit": [
        ("best_threshold", {"model": "sscd_mini"}, 0.8, 0.8),
        *((metric, {**labels, "study": "comparison"}, *pair) for metric, labels, *pair in BASELINES),
        # Above the source's limit, below the descriptor's.
        *(("similarity_target", {**UNPROMPTABLE, **COMPARED, **count}, 0.6, 0.6) for count in (ONE, TWO)),
    ],
    "tuning_transfers": [
        *(("tuning_similarity", {"method": method}, 0.1, 0.1) for method in ("unpromptable", "neggrad_plus", "siss")),
        *(
            ("similarity_target", {"method": method, **COMPARED, **ONE}, 0.2, 0.7)
            for method in ("unpromptable", "neggrad_plus", "siss")
        ),
    ],
    "unpromptable_best": [
        *BASELINES,
        *(("similarity_target", {**UNPROMPTABLE, **COMPARED, **count}, 0.1, 0.1) for count in (ONE, TWO)),
    ],
    "strength_forgets": strengths("similarity_target"),
    "strength_costs": strengths("ssim"),
    "weight_helps": [
        *(("similarity_target", {"setting": setting}, 0.1, 0.1) for setting in (AWARE, CONSTANT)),
        ("similarity_target", LINEAR, 0.3, 0.3),
        ("ssim", {"setting": AWARE}, 0.9, 0.7),
        ("ssim", {"setting": CONSTANT}, 0.8, 0.8),
        ("frechet_pretrained", {"setting": AWARE}, 1.0, 3.0),
        ("frechet_pretrained", {"setting": CONSTANT}, 2.0, 2.0),
    ],
    "projection_helps": [
        ("paired_frechet_pretrained", {"setting": "forget"}, -0.5, 0.5),
        *(
            ("similarity_target", {"setting": setting, "targets": "mean", "count": 1}, 0.1, 0.1)
            for setting in ("forget", "none")
        ),
    ],
    "symmetric_hurts": [("paired_frechet_pretrained", {"setting": "both"}, 0.5, -0.5)],
    "edit_best_surrogate": [
        ("similarity_target", EDIT, 0.1, 0.9),
        ("perceptual", EDIT, 0.3, 0.3),
        *(
            (metric, {"study": "kind", "surrogate": kind}, value, value)
            for kind in ("flip", "noise_50", "noise_150")
            for metric, value in (("similarity_target", 0.8), ("perceptual", 0.2))
        ),
    ],
    "works_out_of_domain": [
        ("similarity_target", {"study": "domain", "targets": "outside"}, 0.1, 0.9),
        ("perceptual", {"study": "domain", "targets": "outside"}, 0.3, 0.3),
        ("perceptual", {**EDIT, "targets": "mean", "count": 1}, 0.3, 0.3),
    ],
    "mode_not_class": [
        ("plausible", {"method": "pretrained"}, 0.9, 0.9),
        ("wrong_rate", {"method": "pretrained"}, 0.3, 0.3),
        ("wrong_rate", {"method": "unpromptable", "setting": "tuned"}, 0.05, 0.3),
        ("right_rate", {"method": "pretrained"}, 0.7, 0.7),
        ("right_rate", {"method": "unpromptable", "setting": "tuned"}, 0.9, 0.9),
        *(("wrong_rate", {"method": method, "setting": "tuned"}, 0.0, 0.0) for method in ("esd", "spm", "duo")),
        *(("right_rate", {"method": method, "setting": "tuned"}, 0.1, 0.1) for method in ("esd", "spm", "duo")),
    ],
    "ridge_nearer": [
        *((f"{name}_error", {}, 1e-13, 1e-13) for name in ("theorem_1", "theorem_2", "corollary_3")),
        *(("closer_than_removal", {"kind": "general", "edit": edit}, 0.7, 0.2) for edit in ("0.01", "0.1", "1")),
        ("closer_without_edit", {}, 1.0, 1.0),
    ],
}


def doctor(changes, side):
    def apply(rows):
        for labels, *values in changes:
            for each in rows:
                if all(str(each.get(name)) == value for name, value in labels.items()):
                    each |= {"value": values[side], "low": values[side] - 1e-4, "high": values[side] + 1e-4}
        return rows

    return apply


def collected(folder: Path, changes=lambda rows: rows) -> Path:
    table = folder / "all.parquet"
    collect.collect(write_run(folder, changes), table)
    return table


def looked_up(path: Path) -> Lookup:
    """The measurements as the step looks them up."""
    return Lookup([path], "lcr", claims.may_lack(CLAIMS)["lcr"])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return collected(tmp_path_factory.mktemp("run"))


def of_family(family):
    return [claim for claim in claims.read(CLAIMS) if claim["family"] == family]


def test_every_claim_has_a_doctored_test():
    assert {claim["id"] for claim in of_family("lcr")} == DOCTORED.keys()
    assert {claim["id"] for claim in of_family("instance")} == MADE.keys()


@pytest.mark.parametrize("side", [0, 1], ids=["holds", "fails"])
def test_each_claim_can_hold_and_can_fail(tmp_path, side):
    every = [change for changes in DOCTORED.values() for change in changes]
    # What several claims share is doctored for each of them alone.
    own = {"global_needs_many", "global_damage", "pixels_suffice", "random_suppresses", "nearest_fails", "composition"}
    shared = [change for name, changes in DOCTORED.items() if name not in own for change in changes]
    assert len(every) > len(shared)
    verdicts = {}
    for names, changes in [({*DOCTORED} - own, shared), *(({name}, DOCTORED[name]) for name in sorted(own))]:
        lookup = looked_up(collected(tmp_path / "-".join(sorted(names))[:40], doctor(changes, side)))
        judged = [claims.judge(claim, lookup, MODELS[:1]) for claim in of_family("lcr") if claim["id"] in names]
        verdicts |= {row["id"]: row["verdict"] for row in judged}
    assert verdicts == dict.fromkeys(DOCTORED, ("holds", "fails")[side])


def judged_as(folder, name, made):
    """The verdict on a claim of instance unlearning over measurements (metric, labels, value), narrow intervals."""
    (claim,) = [claim for claim in of_family("instance") if claim["id"] == name]
    shared = {"model": "tiny_ddpm"} | claim.get("where", {})
    rows = [
        shared | labels | around(metric, value, 1e-14 if "error" in metric else 1e-3) for metric, labels, value in made
    ]
    measurements.write(folder / "rows.parquet", rows, family="instance")
    return claims.judge(claim, Lookup([folder / "rows.parquet"], "instance"), ["tiny_ddpm"])["verdict"]


@pytest.mark.parametrize("side", [0, 1], ids=["holds", "fails"])
@pytest.mark.parametrize("name", MADE)
def test_each_claim_of_instance_unlearning_can_hold_and_can_fail(tmp_path, name, side):
    made = [(metric, labels, values[side]) for metric, labels, *values in MADE[name]]
    assert judged_as(tmp_path, name, made) == ("holds", "fails")[side]


def test_the_best_method_must_forget(tmp_path):
    of_one = ("similarity_target", {**UNPROMPTABLE, **COMPARED, **ONE})
    for similarity, verdict in ((0.1, "holds"), (0.4, "mixed"), (0.48, "fails")):
        made = [(metric, labels, holds) for metric, labels, holds, _ in MADE["unpromptable_best"]]
        changed = [
            (metric, labels, similarity if (metric, labels) == of_one else value) for metric, labels, value in made
        ]
        assert judged_as(tmp_path, "unpromptable_best", changed) == verdict


def test_a_rival_is_worse_where_pairs_tell_or_where_it_does_not_forget(tmp_path):
    of_one = {"method": "siss", "count": 1}
    for similarity, difference, verdict in ((0.2, 0.0, "mixed"), (0.6, 0.0, "holds"), (0.2, 0.4, "holds")):
        changed = {"similarity_target": similarity, "paired_perceptual": difference}
        made = [
            (metric, labels, changed[metric] if of_one.items() <= labels.items() else value)
            for metric, labels, value, _ in MADE["unpromptable_best"]
        ]
        assert judged_as(tmp_path, "unpromptable_best", made) == verdict


def test_a_repair_is_asked_of_a_model_that_draws_its_class(tmp_path):
    for plausible, verdict in ((0.9, "holds"), (0.1, claims.UNTESTABLE)):
        made = [(metric, labels, holds) for metric, labels, holds, _ in MADE["mode_not_class"]]
        assert judged_as(tmp_path, "mode_not_class", [(*made[0][:2], plausible), *made[1:]]) == verdict


def test_a_trend_that_turns_within_its_intervals_is_mixed(tmp_path):
    for name, metric in (("strength_forgets", "similarity_target"), ("strength_costs", "ssim")):
        for last, verdict in ((0.2, "holds"), (0.3001, "mixed")):
            values = zip(("edit_weak", "edit_medium", "edit", "edit_strong"), (0.8, 0.5, 0.3, last), strict=True)
            made = [(metric, {"surrogate": surrogate}, value) for surrogate, value in values]
            assert judged_as(tmp_path, name, made) == verdict


def test_weights_are_compared_at_like_forgetting_only(tmp_path):
    for gap, verdict in ((0.05, "holds"), (0.3, "mixed")):
        made = [(metric, labels, holds) for metric, labels, holds, _ in MADE["weight_helps"]]
        made[0] = (*made[0][:2], 0.1 + gap)
        assert judged_as(tmp_path, "weight_helps", made) == verdict


# What the claims quote of the source's tables, by the rows that it must stand in.
QUOTED = {
    "unpromptable_best": [SINGLE[name] for name in ("unpromptable", "neggrad_plus", "erasediff_port", "siss")]
    + [SEQUENCE[name] for name in ("unpromptable", "neggrad_plus", "erasediff_port", "siss")],
    "unpromptable_forgets": [SINGLE["unpromptable"]],
    "strength_forgets": [STRENGTH[0.5], STRENGTH[32.0]],
    "strength_costs": [STRENGTH[0.5], STRENGTH[32.0]],
    "weight_helps": [WEIGHT["exponent, first"], WEIGHT["constant, second"]],
    "projection_helps": [PROJECTION["forget"], PROJECTION["none"]],
    "symmetric_hurts": [PROJECTION["both"], PROJECTION["none"]],
    "edit_best_surrogate": list(KIND.values()),
    "works_out_of_domain": list(DOMAIN.values()),
}


@pytest.mark.parametrize("name", QUOTED)
def test_published_numbers_are_those_of_the_rows_they_are_quoted_from(name):
    (claim,) = [claim for claim in of_family("instance") if claim["id"] == name]
    quoted = re.findall(r"\d+\.\d+", claim["published"].partition(" over editing weights")[0])
    printed = [
        [f"{cell:.{digits}f}" for cell in row if cell is not None for digits in (1, 2, 3)] for row in QUOTED[name]
    ]
    assert quoted and all(any(number in row for row in printed) for number in quoted), quoted
    assert all(any(number in row for number in quoted) for row in printed), "a row that nothing is quoted from"


def test_a_missing_measurement_is_not_testable_and_says_why(tmp_path):
    table = collected(tmp_path, lambda rows: [each for each in rows if each["metric"] != "histogram_cosine"])
    (claim,) = [claim for claim in claims.read(CLAIMS) if claim["id"] == "no_independent_meaning"]
    found = claims.judge(claim, looked_up(table), MODELS)
    assert found["verdict"] == claims.UNTESTABLE
    assert "histogram_cosine" in found["reason"]


def test_a_concept_that_the_reconstruction_lost_cannot_be_unlearned(tmp_path):
    lost = doctor([({"metric": "detection_rate", "method": "reconstruction"}, 0.01)], 0)
    (claim,) = [claim for claim in claims.read(CLAIMS) if claim["id"] == "random_suppresses"]
    found = claims.judge(claim, Lookup([collected(tmp_path, lost)], "lcr"), MODELS)
    assert found["verdict"] == claims.UNTESTABLE
    assert "hardly shows the concept" in found["reason"]


def test_models_that_disagree_are_mixed():
    assert claims.overall(["holds", "holds"]) == "holds"
    assert claims.overall(["holds", "fails"]) == "mixed"
    assert claims.overall([]) == claims.UNTESTABLE


def test_overlapping_conditions_are_refused(run):
    (claim,) = [claim for claim in claims.read(CLAIMS) if claim["id"] == "linear_separates"]
    with pytest.raises(UserError, match="overlap"):
        claims.judge({**claim, "fails": claim["holds"]}, Lookup([run], "lcr"), MODELS)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "value.__class__",
        "().__class__",
        "open('/etc/passwd')",
        "[1 for _ in (1, 2)]",
        "lambda: 1",
        "value('auc', **{'set': 'x'})",
        "2 ** 99",
        "'text'",
        "unknown + 1",
        "value('auc'",
        "f'{1}'",
    ],
)
def test_only_arithmetic_is_allowed(run, expression):
    with pytest.raises(UserError):
        evaluate(expression, Lookup([run], "lcr", model=MODELS[0]))


def test_arithmetic_comparisons_and_constants(run):
    lookup = Lookup([run], "lcr", model=MODELS[0])
    assert evaluate("1 + 2 * 3 - 4 / 2", lookup) == 5
    assert evaluate("1 < 2 <= 2 and not 3 < 2", lookup) is True
    assert evaluate("max(margin, -1) + abs(-2)", lookup, {"margin": 0.5}) == 2.5


def test_a_share_of_nothing_is_not_measured(run):
    with pytest.raises(Missing, match="nothing is a share of margin - 2, which is 0"):
        evaluate("1 / (margin - 2)", Lookup([run], "lcr"), {"margin": 2.0})


def test_every_term_is_read_so_that_an_absent_measurement_shows(run):
    with pytest.raises(Missing):
        evaluate("1 < 2 or value('never_measured') > 0", Lookup([run], "lcr", ["never_measured"]))


def test_a_misspelt_metric_is_an_error_that_names_the_claim(run):
    (claim,) = [claim for claim in claims.read(CLAIMS) if claim["id"] == "linear_separates"]
    misspelt = {**claim, "holds": claim["holds"].replace("auc", "acu")}
    with pytest.raises(
        UserError, match=r"claim 'linear_separates': no measurement is of the metric 'acu' \(there is auc"
    ):
        claims.judge(misspelt, looked_up(run), MODELS)


def test_a_label_too_few_is_refused_and_named(run):
    with pytest.raises(UserError, match="classifier"):
        evaluate("value('auc', source='balanced', evaluation='same')", Lookup([run], "lcr", model=MODELS[0]))


def test_seeds_are_averaged_and_widen_the_interval(tmp_path):
    path = tmp_path / "m.parquet"
    rows = [around("a", value, 0.1, seed=seed) for seed, value in enumerate((0.4, 0.5, 0.6))]
    measurements.write(path, rows, family="lcr", model="m")
    found = Lookup([path], "lcr", model="m").get("a")
    assert found.value == pytest.approx(0.5)
    # Student of 2 degrees: sqrt(0.1^2 + (4.303 * 0.1 / sqrt(3))^2)
    assert found.high - found.value == pytest.approx(0.2678, abs=1e-4)


def test_an_interval_over_seeds_of_a_share_ends_at_all_and_that_of_a_loss_does_not(tmp_path):
    shares, losses = (1.0, 0.5, 1.0), (0.913, 0.617, 0.951)
    rows = [
        measurements.row(metric, value, max(0.0, value - 0.1), min(1.0, value + 0.05), n=10, seed=seed)
        for metric, values in (("erased", shares), ("kept", losses), ("loss", losses))
        for seed, value in enumerate(values)
    ]
    measurements.write(tmp_path / "all.parquet", rows, family="lcr")
    found = Lookup([tmp_path / "all.parquet"], "lcr")
    # What is kept is a mean over words, so no count, and a share for all that.
    assert all(found.get(metric).high == 1 and found.get(metric).low > 0 for metric in ("erased", "kept"))
    assert found.get("loss").high > 1
    assert Lookup([], "lcr").table.empty  # a figure of pictures alone looks nothing up


def test_a_half_has_its_seeds_and_what_was_measured_once(tmp_path):
    path = tmp_path / "m.parquet"
    rows = [around("a", value, 0.1, seed=seed) for seed, value in enumerate((0.4, 0.5, 0.6))]
    measurements.write(path, [*rows, around("once", 0.3)], family="lcr", model="m")
    every = Lookup([path], "lcr", model="m")
    first, second = every.halves()
    assert [each.get("a").value for each in (every, first, second)] == pytest.approx([0.5, 0.45, 0.6])
    assert [each.get("once").value for each in (every, first, second)] == pytest.approx([0.3] * 3)
    measurements.write(path, rows[:1], family="lcr", model="m")
    assert not Lookup([path], "lcr").halves()


def test_what_a_step_says_of_halves_and_what_it_says_of_both(tmp_path):
    rows = [around("a", 0.5), around("a", 0.4, half="first"), around("a", 0.6, half="second"), around("b", 0.3)]
    measurements.write(tmp_path / "m.parquet", rows, family="lcr", model="m")
    every = Lookup([tmp_path / "m.parquet"], "lcr", model="m")
    assert [each.get("a").value for each in (every, *every.halves())] == pytest.approx([0.5, 0.4, 0.6])
    # Of one seed there are no halves.
    assert [each.get("b").value for each in (every, *every.halves())] == pytest.approx([0.3] * 3)


def test_a_half_that_cannot_test_a_claim_flips_nothing(tmp_path):
    rows = [around("a", value, 0.01, seed=seed) for seed, value in enumerate((0.9, 0.8))]
    measurements.write(tmp_path / "m.parquet", rows, family="lcr", model="m")
    asked = {"ours": [], "holds": 'value("a") > 0 and low("b") > 0', "fails": 'value("a") < 0'}
    claim = {"id": "high", "family": "lcr", "statement": "High.", "source": "s", "published": "p", "test": "t", **asked}
    lookup = Lookup([tmp_path / "m.parquet"], "lcr", ["b"])
    row = {**claims.judge(claim, lookup, ["m"]), "lines": ["another"], "verdict": claims.HOLDS}
    assert claims.judged_by_half(row, claim, lookup.halves(), ["m"])["verdict_by_half"] == ""


def test_a_verdict_that_half_of_the_seeds_flips_is_marked(tmp_path):
    path = tmp_path / "m.parquet"
    rows = [around("a", value, 0.01, seed=seed) for seed, value in enumerate((0.9, 0.9, 0.2, 0.2))]
    measurements.write(path, [*rows, around("once", 0.9)], family="lcr", model="m")
    claim = {"id": "high", "family": "lcr", "statement": "High.", "source": "s", "published": "p", "test": "t"}
    verdicts = {}
    for metric in ("a", "once"):
        asked = {
            "ours": [{"text": metric, "value": f'value("{metric}")'}],
            "holds": f'value("{metric}") > 0.5', "fails": f'value("{metric}") < 0.5',
        }  # fmt: skip
        lookup = Lookup([path], "lcr")
        row = claims.judge({**claim, **asked}, lookup, ["m"])
        verdicts[metric] = claims.judged_by_half(row, {**claim, **asked}, lookup.halves(), ["m"])
    assert verdicts["a"]["verdict_by_half"] == "holds; fails" and not claims.is_stable(verdicts["a"])
    # One seed decides it: there is nothing that another one could say.
    assert verdicts["once"]["verdict_by_half"] == "" and claims.is_stable(verdicts["once"])
    table = claims.scorecard("lcr", list(verdicts.values()))
    assert [claims.UNSTABLE in verdict for verdict in table.frame["Verdict"]] == [True, False]
    assert claims.NOTES[claims.UNSTABLE] in table.notes
    assert claims.count_lines(list(verdicts.values()))[-2:] == [
        "\\newcommand{\\claimsHalved}{1}\n",
        "\\newcommand{\\claimsStable}{0}\n",
    ]


def of_a_sweep(path):
    """Rates that fall as `top` grows: 0.9, 0.4, 0.1 at 5, 20, 100."""
    rows = [around("rate", value, top=top) for top, value in ((100, 0.1), (20, 0.4), (5, 0.9))]
    measurements.write(path, rows, family="lcr", model="m")
    return Lookup([path], "lcr", model="m")


def test_crossing_is_the_smallest_key_that_reaches_the_limit(tmp_path):
    lookup = of_a_sweep(tmp_path / "m.parquet")
    assert evaluate("crossing('rate', 'top', 0.5)", lookup) == 20
    assert evaluate("crossing('rate', 'top', 0.01)", lookup) == float("inf")
    assert evaluate("value('rate', top=crossing('rate', 'top', 0.2))", lookup) == pytest.approx(0.1)
    with pytest.raises(Missing):
        evaluate("value('rate', top=crossing('rate', 'top', 0.01))", lookup)


def test_before_is_the_last_key_that_does_not_reach_the_limit(tmp_path):
    lookup = of_a_sweep(tmp_path / "m.parquet")
    assert evaluate("before('rate', 'top', 0.2)", lookup) == 20
    assert evaluate("before('rate', 'top', 0.95)", lookup) == 0
    assert evaluate("before('rate', 'top', 0.01)", lookup) == 100
    assert evaluate("crossing('rate', 'top', 0.5) - before('rate', 'top', 0.5)", lookup) == 15


def test_a_sweep_that_steps_over_the_margin_is_mixed(tmp_path):
    """Half of the detections are gone between two numbers of codes, of which only the second is beyond the margin."""
    (claim,) = [claim for claim in of_family("lcr") if claim["id"] == "global_needs_many"]
    labels = {"metric": "detection_rate", "scope": "global", "method": "random_safe"}  # at 4, 16, 64 and 256 codes
    changes = [({**labels, "top": str(top)}, rate, rate) for top, rate in ((4, 0.9), (16, 0.9), (64, 0.1), (256, 0.1))]
    found = claims.judge(claim, Lookup([collected(tmp_path, doctor(changes, 0))], "lcr"), MODELS[:1])
    assert found["verdict"] == "mixed"
    assert "leave more = 16, that leave at most half = 64" in found["ours"]


def test_the_scorecard_shows_every_margin_and_marks_what_is_not_of_the_paper(run):
    for claim in claims.read(CLAIMS):
        shown = claims.stated(claim)
        if "margin" in claim:
            value = f"{claim['margin']:g}"
            assert f"the margin ({value})" in shown.lower() or shown.endswith(f"Margin: {value}.")
        else:
            assert shown == claim["test"].strip()
    lookup = Lookup([run], "lcr")
    judged = [claims.judge(claim, lookup, MODELS) for claim in of_family("lcr")]
    added = {row["id"] for row in judged if row["statement"].endswith(claims.MARK)}
    assert added == {"survives_source", "legacy_coverage", "draw_noise", "pixels_suffice"}
    table = claims.scorecard("lcr", judged)
    assert claims.MARK in table.caption and claims.MARK in table.notes and "dagger" in table.latex()
    plain = claims.scorecard("lcr", [row for row in judged if row["id"] not in added])
    assert plain.notes == ""


def test_the_margin_is_shown_where_it_is_first_spoken_of():
    claim = {"test": "A is above the margin, or B above twice the margin.\n", "margin": 0.25}
    assert claims.stated(claim) == "A is above the margin (0.25), or B above twice the margin."
    assert claims.stated({"test": "A is above B.", "margin": 1e-10}) == "A is above B. Margin: 1e-10."


def test_a_claim_about_another_familys_models_is_judged_for_those(tmp_path):
    definition = tmp_path / "memory.yaml"
    claim = dict.fromkeys(("source", "statement", "published", "test"), "said") | {
        "id": "faces",
        "models_of": "instance",
    }
    claim |= {"ours": [{"text": "x", "value": 'value("x")'}], "holds": 'value("x") > 0', "fails": 'value("x") < 0'}
    definition.write_text(json.dumps({"claims": [claim]}), encoding="utf-8")
    rows = [{"metric": "x", "model": model, "value": value} for model, value in (("text", -1.0), ("faces", 1.0))]
    for family in ("memory", "instance"):
        measurements.write(tmp_path / f"{family}.parquet", rows, family=family)
    names = ("verdicts.parquet", "verdicts.csv", "scorecard.tex", "scorecard.html", "macros.tex")

    def judged(**families) -> str:
        claims.claims(
            [tmp_path / f"{family}.parquet" for family in families],
            [definition],
            *(tmp_path / name for name in names),
            families=families,
        )
        return pd.read_parquet(tmp_path / names[0])["verdict_by_model"].item()

    assert judged(memory=["text"], instance=["faces"]) == "faces: holds"
    assert judged(memory=["text"]) == "text: fails"


def test_outputs_agree(run, tmp_path):
    names = ("verdicts.parquet", "verdicts.csv", "scorecard.tex", "scorecard.html", "macros.tex")
    paths = [tmp_path / name for name in names]
    claims.claims([run], CLAIMS, *paths, families={"lcr": list(MODELS)})
    table = pd.read_parquet(paths[0])
    for row in table.itertuples():
        macro = "verdict" + "".join(part.capitalize() for part in row.id.split("_"))
        assert f"\\newcommand{{\\{macro}}}{{\\emph{{{row.verdict}}}}}\n" in paths[4].read_text(encoding="utf-8")
    assert len(pd.read_csv(paths[1])) == len(table) == len(of_family("lcr"))
    counts = table["verdict"].value_counts()
    told = {"Judged": counts.drop("not testable here", errors="ignore").sum()}
    told |= {verdict.capitalize(): counts.get(verdict, 0) for verdict in ("holds", "mixed", "fails")}
    for name, count in told.items():
        assert f"\\newcommand{{\\claims{name}}}{{{count}}}\n" in paths[4].read_text(encoding="utf-8")


@pytest.mark.parametrize("change", [{"id": "a1"}, {"surprise": 1}, {"holds": None}])
def test_a_wrong_definition_is_refused(tmp_path, change):
    claim = yaml.safe_load(CLAIMS[0].read_text(encoding="utf-8"))["claims"][0] | change
    if change == {"holds": None}:
        del claim["holds"]
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": [claim]}), encoding="utf-8")
    with pytest.raises(UserError):
        claims.read([path])


def test_a_key_that_a_claim_holds_twice_is_refused_with_both_lines(tmp_path):
    path = tmp_path / "lcr.yaml"
    path.write_text("optional: [auc]\nclaims:\n- id: one\n  margin: 0.5\n  margin: 0.1\n", encoding="utf-8")
    for read in (claims.read, claims.may_lack):
        with pytest.raises(UserError, match=r"claims\.0\.margin stands in lines 4 and 5; keep one"):
            read([path])
