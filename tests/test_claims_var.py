"""Claims of next-scale models: each can hold and can fail over measurements that decide it."""

from pathlib import Path

import pytest

from conftest import ROOT, configuration
from palimpsest.metrics import measurements
from palimpsest.report import claims
from palimpsest.report.lookup import Lookup
from palimpsest.var.tables import comparison
from synthetic_measurements import around

CLAIMS = [claim for claim in claims.read([ROOT / "config/claims/var.yaml"]) if claim["family"] == "var"]


def of(metric: str, method: str, prompts: str, hold: float, fail: float) -> tuple:
    """A measurement of a method: its labels, its value for the claim to hold and to fail."""
    study = "networks" if method in ("pretrained", "oracle") else "comparison"
    return metric, {"method": method, "prompts": prompts, "study": study}, hold, fail


def erased(method: str, hold: float, fail: float) -> tuple:
    return of("erased", method, "own", hold, fail)


KEPT = [of("kept", "pretrained", prompts, 0.95, 0.95) for prompts in ("neighbour", "rest")]
# For each claim all that it reads.
MADE = {
    "svare_erases": [erased("s_vare", 0.97, 0.8)],
    "svare_keeps": [*KEPT, of("kept", "s_vare", "rest", 0.93, 0.93), of("kept", "s_vare", "neighbour", 0.93, 0.5)],
    "naive_fails": [erased("naive", 0.5, 0.9), erased("vare", 0.9, 0.9)],
    "auxiliary_tokens_ease": [
        ("token_loss_saved", {"scale": "all"}, 0.4, 0.01),
        ("token_loss", {"fed": "concept_safe", "scale": "all"}, 0.5, 0.5),
        ("token_loss", {"fed": "concept_own", "scale": "all"}, 0.9, 0.51),
    ],
    "scales_add_up": [
        ("token_loss_saved", {"scale": "8"}, 0.4, 0.2),
        ("token_loss_saved", {"scale": "8", "model": "tiny_var_four_scales"}, 0.3, 0.3),
    ],
    "filter_spares": [
        *KEPT,
        *(
            of("kept", method, "rest", *values)
            for method, values in (("vare", (0.7, 0.9)), ("vare_filtered", (0.8, 0.8)))
        ),
        *(erased(method, 0.9, 0.9) for method in ("vare", "vare_filtered")),
    ],
    "floor_passed": [
        ("kept_above_floor_at_end", {}, -0.1, 0.1),
        ("floor_reached", {}, 1.0, 0.0),
    ],
    "floor_is_the_end": [("erased_at_floor", {}, 0.95, 0.3), ("erased_at_end", {}, 0.9, 0.9)],
    "preservation_spares": [
        *KEPT,
        of("kept", "vare_filtered", "neighbour", 0.6, 0.6),
        of("kept", "s_vare", "neighbour", 0.8, 0.4),
    ],
    "svare_best": [
        *KEPT,
        *(erased(method, 0.9, 0.9) for method in ("s_vare", "ac_vare", "esd_vare")),
        of("kept", "s_vare", "rest", 0.9, 0.5),
        *(of("kept", method, "rest", 0.7, 0.7) for method in ("ac_vare", "esd_vare")),
    ],
    "svare_robust": [of("recovered", "s_vare", attack, 0.02, 0.5) for attack in ("searched", "inverted")],
    "esd_collapses": [*KEPT, erased("esd", 0.97, 0.97), of("kept", "esd", "rest", 0.4, 0.94)],
    "wide_set_spares": [
        *KEPT,
        of("kept", "s_vare", "neighbour", 0.6, 0.9),
        of("kept", "s_vare_corrected", "neighbour", 0.9, 0.8),
        *(erased(method, 0.95, 0.95) for method in ("s_vare", "s_vare_corrected")),
    ],
    "prefix_brings_back": [
        of("recovered", "s_vare", "prefix", 0.9, 0.3),
        of("recovered", "oracle", "prefix", 0.3, 0.3),
    ],
    **{
        name: [
            ("changed", {"part": f"{known}_0.5", "kind": "replaced"}, 0.1, 0.1),
            *[
                ("shows", {"part": f"{placed}{known}_0.5", "kind": kind}, *values)
                for placed in ("", "placed_")
                for kind, values in (("replaced", (0.1, 0.9)), ("replaced_null", (0.9, 0.9)))
            ],
        ]
        for name, known in {"codes_carry": "tokens", "bits_carry": "symbols"}.items()
    },
    "first_scale_decides": [
        ("shows", {"part": f"up_to_{side}", "kind": kind}, 0.9, 0.1) for side in (1, 2) for kind in ("put", "taken")
    ],
    "drawn_stay_likelier": [
        *(
            ("forgotten", {"method": method, "set": "concept"}, 0.2, 0.2 if method != "uce" else 0.9)
            for method in ("s_vare", "s_vare_corrected", "ac_vare", "uce", "vare")
        ),
        ("forgotten", {"method": "oracle", "set": "concept"}, 0.5, 0.5),
    ],
    "begun_pictures_end_otherwise": [
        ("completed", {"method": method, "set": "real_concept", "caption": "own"}, *values)
        for method, values in (("s_vare", (0.05, 0.9)), ("oracle", (0.1, 0.1)), ("pretrained", (0.95, 0.95)))
    ],
}


@pytest.mark.parametrize("experiment", ["mini", "small", "full", "classes"])
def test_the_prose_names_the_scales_that_are_trained_alone(experiment):
    text = (ROOT / "paper/sections/var.tex").read_text(encoding="utf-8")
    method = configuration(experiment)["var"]["methods"]["first_scale_only"]
    tried = {{**method["settings"], **each.get("settings", {})}["scales"] for each in method["grid"]}
    assert tried == ({2} if experiment == "mini" else {1, 2})
    assert f"to train only the first scale{('', '', ' or two', ' to three')[max(tried)]} " in text


def test_what_is_published_stands_beside_ours(tmp_path):
    rows = [
        around("erased", value, method=method, prompts="own", concept="all", study="comparison")
        for method, value in (("s_vare", 0.42), ("vare", 0.9))
    ]
    measurements.write(tmp_path / "rows.parquet", rows, family="var", model="tiny_var")
    lookup = Lookup([tmp_path / "rows.parquet"], "var")
    params = {"models": ["tiny_var"], "methods": ["s_vare"], "published": 0.97}
    assert comparison.beside_published(lookup, params).endswith("near 97 % erased, here it is 42 %.")
    assert comparison.beside_published(lookup, {**params, "methods": ["vare"]}) == ""


def test_every_claim_has_its_measurements():
    assert {claim["id"] for claim in CLAIMS} == MADE.keys() and len(CLAIMS) >= 10


@pytest.mark.parametrize("side", [0, 1], ids=["holds", "fails"])
@pytest.mark.parametrize("name", MADE)
def test_each_claim_can_hold_and_can_fail(tmp_path, name, side):
    (claim,) = [claim for claim in CLAIMS if claim["id"] == name]
    rows = [
        {"model": "tiny_var"} | claim["where"] | labels | around(metric, values[side], 1e-3)
        for metric, labels, *values in MADE[name]
    ]
    assert judged(tmp_path, claim, rows)["verdict"] == ("holds", "fails")[side]


@pytest.mark.parametrize("changed", [0.009, 0.011])
def test_a_rule_that_changes_next_to_nothing_does_not_test_whether_codes_carry(tmp_path, changed):
    (claim,) = [claim for claim in CLAIMS if claim["id"] == "codes_carry"]
    rows = [
        {"model": "tiny_var"}
        | claim["where"]
        | labels
        | around(metric, changed if metric == "changed" else values[1], 1e-3)
        for metric, labels, *values in MADE["codes_carry"]
    ]
    found = judged(tmp_path, claim, rows)
    assert found["verdict"] == ("not testable here" if changed < 0.01 else "fails")
    assert ("seldom drawn again" in str(found)) == (changed < 0.01)


def test_a_claim_on_a_method_that_was_not_run_says_so_by_its_name(tmp_path):
    (claim,) = [claim for claim in CLAIMS if claim["id"] == "filter_spares"]
    rows = [
        {"model": "tiny_var"} | claim.get("where", {}) | labels | around(metric, values[0], 1e-3)
        for metric, labels, *values in MADE["filter_spares"]
        if labels.get("method") != "vare_filtered"
    ]
    found = judged(tmp_path, claim, rows)
    assert found["verdict"] == "not testable here" and found["reason"].startswith("not measured here: VARE")


def judged(folder: Path, claim: dict, rows: list[dict]) -> dict:
    """What a claim is judged over measurements of the model."""
    measurements.write(folder / "rows.parquet", rows, family="var")
    return claims.judge(claim, Lookup([folder / "rows.parquet"], "var"), ["tiny_var"])
