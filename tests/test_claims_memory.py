"""Claims of the audit by inversion: each can hold and can fail over measurements that decide it."""

import re
from pathlib import Path

import pytest

from palimpsest.memory.tables.verdict import USUAL
from palimpsest.metrics import measurements
from palimpsest.report import claims
from palimpsest.report.lookup import Lookup
from synthetic_measurements import around

FILE = Path(__file__).parent.parent / "config/claims/memory.yaml"
CLAIMS = {claim["id"]: claim for claim in claims.read([FILE])}
METHODS = ("esd_x", "esd_u", "uce", "ac", "fmn", "spm", "salun", "erasediff", "scissorhands", "advunlearn")
OWN = {"set": "concept", "caption": "own"}
RATIO = {**OWN, "reference": "neutral"}


def of(metric: str, method: str, hold: float, fail: float, **labels) -> tuple:
    """A measurement of a model: its labels, its value for the claim to hold and to fail."""
    return metric, {"method": method, **labels}, hold, fail


def each(metric: str, hold: float, fail: float, **labels) -> list[tuple]:
    return [of(metric, method, hold, fail, **labels) for method in METHODS]


KNOWN = {"concept": "with_oracle"}  # what is set beside an oracle
FACES = {"set": "target"}  # of the audit of another family's models
DISTANT, ADJACENT = {"kind": "distant"}, {"kind": "adjacent"}
# For each claim all that it reads.
MADE = {
    "erased_reconstructed": [*each("psnr", 28.0, 22.0, **OWN), of("ceiling", "pretrained", 28.0, 28.0, **OWN)],
    "erasure_keeps_psnr": [*each("lost", 1.0, 8.0, **OWN), of("lost", "pretrained", 0.2, 0.2, **OWN)],
    "texture_costs": [
        of(metric, "pretrained", hold, fail, concept=concept, **OWN)
        for concept, hold, fail in (("church", 28.0, 33.0), ("emblem", 33.0, 28.0))
        for metric in ("psnr", "ceiling")
    ],
    "reconstruction_is_memory": [
        of("lost", "pretrained", 0.2, 0.2, **OWN, **KNOWN),
        *(of("lost", method, 8.0, 0.2, **OWN, **KNOWN) for method in ("oracle", "zero")),
    ],
    "found_in_reconstructions": [*each("detected", 0.97, 0.5, **OWN), of("detected", "zero", 0.97, 0.97, **OWN)],
    "pretrained_alike": [of("excess", "pretrained", 0.2, 3.0)],
    "seeds_likely": [
        *each("w1_ratio", 1.2, 4.0, **RATIO),
        of("w1_ratio", "pretrained", 1.0, 1.0, **RATIO),
    ],
    "most_below_two": [
        *each("w1_ratio", 1.2, 4.0, **RATIO),
        of("w1_ratio", "pretrained", 1.0, 1.0, **RATIO),
    ],
    "esd_farthest": [
        of("w1_ratio", method, *((2.0, 1.0) if method.startswith("esd") else (1.5, 1.5)), **RATIO) for method in METHODS
    ],
    "more_than_oracle": [
        *each("remembered", 1.0, -1.0, **KNOWN),
        *each("reference_shift", 1.0, 1.0, **KNOWN),
        of("remembered", "pretrained", 2.0, 2.0, **KNOWN),
        *(of("w1_ratio", method, 2.0, 2.0, **RATIO, **KNOWN) for method in ("pretrained", "oracle")),
    ],
    "scrambled_invertible": [
        of("psnr", "pretrained", 24.0, 15.0, set="scrambled", caption="own"),
        of("ceiling", "pretrained", 24.2, 24.2, set="scrambled", caption="own"),
    ],
    "many_distant": [*each("seeds_cosine", 0.8, 0.2, **DISTANT), of("seeds_cosine", "pretrained", 0.8, 0.2, **DISTANT)],
    "on_a_sphere": each("seeds_variation", 0.02, 0.2, **DISTANT),
    "image_reconstructed": [
        *each("seeds_psnr", 24.0, 15.0, **DISTANT),
        of("seeds_psnr", "zero", 24.0, 24.0, **DISTANT),
    ],
    "image_likelier": [
        *each("w1_ratio", 2.0, 2.0, **RATIO),
        *(
            row
            for kind in (DISTANT, ADJACENT)
            for metric in ("seeds_w1_ratio", "seeds_fitted_ratio")
            for row in each(metric, 1.5, 3.0, **kind, **RATIO)
        ),
    ],
    "distant_beyond_noise": [
        of("seeds_cosine", "pretrained", 0.8, 0.1, **DISTANT),
        of("seeds_cosine", "pretrained", 0.3, 0.3, **ADJACENT),
    ],
    "reencoding_harmless": [
        of("seeds_moved_by_reencoding", "pretrained", 0.5, 10.0),
        of("seeds_distance", "pretrained", 20.0, 20.0, **DISTANT),
    ],
    "seed_is_likelihood": [of("log_p_spearman", "pretrained", 0.9, 0.1, caption="own")],
    "words_add_likelihood": [of("log_p_gain", "pretrained", 50.0, -50.0, set=name) for name in ("concept", "neutral")],
    "likelihood_beyond_oracle": [
        of("log_p_beyond", "pretrained", 50.0, 0.0, set="concept", caption="own"),
        of("log_p_beyond", "pretrained", 10.0, 10.0, set="neutral", caption="own"),
        of("log_p_gain_beyond", "pretrained", 50.0, 0.0, set="concept"),
        of("log_p_gain_beyond", "pretrained", 10.0, 10.0, set="neutral"),
    ],
    "renoise_converges": [
        of(name, "", 0.1, 4.0, solver="renoise", steps=steps)
        for name in ("solver_z_shift", "solver_residual")
        for steps in (20, 50)
    ],
    "ddim_finds_seed": [of(name, "", 0.1, -9.0, solver="ddim", steps=20) for name in ("solver_z_shift", "solver_psnr")],
    "unguided_seed": [of("solver_z_shift", "", 0.1, 9.0, guidance=3)],
    "forgotten_faces_pushed_out": [
        of("crossed_shift_auc", "edited", 0.5, 0.8, **FACES),
        *(of(name, "edited", 0.1, 2.0, **FACES) for name in ("crossed_z_shift", "crossed_z_over_oracle")),
    ],
    "forgotten_faces_reconstructed": [
        of("crossed_psnr", method, *values, **FACES)
        for method, values in {"oracle": (15.0, 45.0), "edited": (40.0, 40.0)}.items()
    ],
    "erased_pushed_out": [of("rank_excess", "", 0.6, -0.6, shown="erased", concept="")],
    **{
        f"{name}_pushed_out": [of("rank_excess", "", -0.6, 0.6, shown=f"recovered_{name}", concept="")]
        for name in ("searched", "inverted")
    },
}


def test_every_claim_has_its_measurements():
    assert CLAIMS.keys() == MADE.keys()


def test_at_least_ten_claims_of_the_source_have_a_published_value():
    valued = [name for name, each in CLAIMS.items() if re.search(r"\d", each["published"])]
    assert len(valued) >= 10 and not any(claims.is_addition(CLAIMS[name]) for name in valued)


def verdict(folder: Path, name: str, rows: list[tuple], side: int) -> str:
    """What is said of a claim over the values of one side of such rows."""
    table = [
        {"model": "tiny_sd", "concept": "all"} | labels | around(metric, values[side], 1e-3)
        for metric, labels, *values in rows
    ]
    measurements.write(folder / "rows.parquet", table, family="memory")
    return claims.judge(CLAIMS[name], Lookup([folder / "rows.parquet"], "memory"), ["tiny_sd"])["verdict"]


@pytest.mark.parametrize("side", [0, 1], ids=["holds", "fails"])
@pytest.mark.parametrize("name", MADE)
def test_each_claim_can_hold_and_can_fail(tmp_path, name, side):
    assert verdict(tmp_path, name, MADE[name], side) == ("holds", "fails")[side]


def beyond_oracle(tmp_path, remembered: dict[str, float], moved: tuple[str, ...]) -> dict:
    """The claim about memories over what methods remember, of which some have moved the seeds of other pictures."""
    rows = [
        {"model": "tiny_sd"} | labels | around(metric, value, 1e-3)
        for metric, labels, value, _ in MADE["more_than_oracle"]
        if labels["method"] not in METHODS
    ]
    for method in METHODS:
        labels = {"model": "tiny_sd", "method": method, **KNOWN}
        rows.append(labels | around("remembered", remembered.get(method, 1.0), 1e-3))
        rows.append(labels | around("reference_shift", -5.0 if method in moved else 0.5, 1e-3))
    measurements.write(tmp_path / "rows.parquet", rows, family="memory")
    return claims.judge(CLAIMS["more_than_oracle"], Lookup([tmp_path / "rows.parquet"], "memory"), ["tiny_sd"])


def test_what_has_moved_the_references_is_no_evidence_of_forgetting(tmp_path):
    off, kept = ("spm", "salun", "erasediff", "scissorhands", "advunlearn"), ("esd_x", "uce")
    judged = beyond_oracle(tmp_path, {}, off)
    assert judged["verdict"] == "holds" and "testable = 4," in judged["ours"]
    assert beyond_oracle(tmp_path, dict.fromkeys(kept, -1.0), off)["verdict"] == "mixed"  # two of four
    assert beyond_oracle(tmp_path, dict.fromkeys((*kept, "ac"), -1.0), off)["verdict"] == "fails"
    # Nor of memory.
    assert beyond_oracle(tmp_path, dict.fromkeys(("esd_x", "uce", "ac", "fmn"), -1.0), off)["verdict"] == "fails"
    judged = beyond_oracle(tmp_path, {}, METHODS)
    assert judged["verdict"] == "not testable here" and "has moved the seeds of other pictures" in judged["reason"]


def test_the_table_and_the_claim_have_one_rule():
    assert CLAIMS["more_than_oracle"]["margin"] == USUAL


def test_seeds_of_every_method_have_to_lie_on_the_sphere(tmp_path):
    (metric, labels, hold, fail), *others = MADE["on_a_sphere"]
    assert verdict(tmp_path, "on_a_sphere", [(metric, labels, fail, hold), *others], 0) == "fails"
