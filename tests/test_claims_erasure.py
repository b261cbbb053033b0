"""Claims of concept erasure: each can hold and can fail over measurements that decide it."""

from pathlib import Path

import pytest

from palimpsest.erasure.published import ATTACKED, BY_CONCEPT
from palimpsest.metrics import measurements
from palimpsest.report import claims
from palimpsest.report.lookup import Lookup
from synthetic_measurements import around

CLAIMS = [
    claim
    for claim in claims.read([Path(__file__).parent.parent / "config/claims/erasure.yaml"])
    if claim["family"] == "erasure"
]


def of(metric: str, method: str, prompts: str, hold: float, fail: float) -> tuple:
    """A measurement of a method: its labels, its value for the claim to hold and to fail."""
    study = "networks" if method == "pretrained" else "comparison"
    return metric, {"method": method, "prompts": prompts, "study": study}, hold, fail


KEPT = [of("kept", "pretrained", prompts, 0.95, 0.95) for prompts in ("own", "neighbour", "rest")]
FORMS = ("esd_x", "esd_u", "uce", "ac", "fmn", "spm", "salun", "erasediff", "scissorhands", "advunlearn")
ORDER = ("erasediff", "scissorhands", "salun", "advunlearn", "esd_x", "uce", "spm", "fmn")
# For each claim all that it reads.
MADE = {
    "esd_erases": [
        *KEPT,
        *(of("erased", method, "own", 0.97, 0.5) for method in ("esd_x", "esd_u")),
        *(of("kept", method, "rest", 0.93, 0.93) for method in ("esd_x", "esd_u")),
    ],
    "uce_spares": [*KEPT, of("erased", "uce", "own", 0.97, 0.97), of("kept", "uce", "neighbour", 0.93, 0.5)],
    "ac_maps": [*KEPT, of("erased", "ac", "own", 0.97, 0.2), of("kept", "ac", "own", 0.93, 0.93)],
    "fmn_weak": [
        of("erased", "fmn", "own", 0.1, 0.95),
        *(of("erased", method, "own", 0.8, 0.8) for method in ("esd_x", "esd_u")),
    ],
    "spm_spares": [
        of("kept", "spm", "neighbour", 0.9, 0.3),
        *(of("kept", method, "neighbour", 0.7, 0.7) for method in ("esd_x", "esd_u")),
    ],
    "erasers_wreck": [
        *(of("perceptual", method, "rest", 0.4, 0.05) for method in ("erasediff", "scissorhands")),
        of("perceptual", "salun", "rest", 0.2, 0.2),
    ],
    "advunlearn_robust": [
        *(of("erased", "advunlearn", prompts, 0.9, 0.1) for prompts in ("own", "synonym", "template")),
        *(of("erased", "esd_x", prompts, 0.5, 0.5) for prompts in ("own", "synonym", "template")),
    ],
    "published_order": [
        of("erased", method, "own", 0.95 - 0.1 * place, 0.1 + 0.1 * place) for place, method in enumerate(ORDER)
    ],
    # Half of the methods fall, by one attack each.
    "words_bring_back": [
        *(of("recovered", method, "own", 0.1, 0.1) for method in FORMS),
        *(of("recovered", method, "template", 0.1, 0.1) for method in FORMS),
        *(of("recovered", method, "synonym", 0.6 if place == 0 else 0.1, 0.1) for place, method in enumerate(FORMS)),
        *(
            of("recovered", method, "searched", 0.1 + 0.5 * (1 <= place < 5), 0.1 + 0.5 * (1 <= place < 5))
            for place, method in enumerate(FORMS)
        ),
    ],
    "advunlearn_resists": [
        of("recovered", "advunlearn", "searched", 0.1, 0.9),
        of("recovered", "esd_x", "searched", 0.6, 0.6),
    ],
    "inversion_brings_back": [
        *(of("recovered", method, "own", 0.1, 0.1) for method in FORMS[:6]),
        *(of("recovered", method, "inverted", 0.6, 0.6 * (place > 2)) for place, method in enumerate(FORMS[:6])),
    ],
    "ascent_destroys": [*KEPT, of("kept", "neggrad", "rest", 0.3, 0.94), of("erased", "neggrad", "own", 1.0, 1.0)],
}


def test_every_claim_has_its_measurements():
    assert {claim["id"] for claim in CLAIMS} == MADE.keys()


@pytest.mark.parametrize("side", [0, 1], ids=["holds", "fails"])
@pytest.mark.parametrize("name", MADE)
def test_each_claim_can_hold_and_can_fail(tmp_path, name, side):
    (claim,) = [claim for claim in CLAIMS if claim["id"] == name]
    rows = [
        {"model": "tiny_sd", "concept": "all"} | labels | around(metric, values[side], 1e-3)
        for metric, labels, *values in MADE[name]
    ]
    measurements.write(tmp_path / "rows.parquet", rows, family="erasure")
    judged = claims.judge(claim, Lookup([tmp_path / "rows.parquet"], "erasure"), ["tiny_sd"])
    assert judged["verdict"] == ("holds", "fails")[side]


def test_the_published_order_has_every_method_that_one_column_can_place():
    columns = [{name: row[0] for name, row in ATTACKED.items()}]
    columns += [{name: shares[0] for name, shares in rows.items()} for rows in BY_CONCEPT.values()]
    longest = max(columns, key=len)
    assert sorted(ORDER) == sorted(longest) and [longest[name] for name in ORDER] == sorted(longest.values())
    # The two forms of ESD are one method there.
    (claim,) = [claim for claim in CLAIMS if claim["id"] == "published_order"]
    assert set(FORMS) - set(ORDER) - {"esd_u"} == {"ac"} and "AC" in claim["statement"] and "AC" in claim["test"]
