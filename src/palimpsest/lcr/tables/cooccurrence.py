"""Combinations of codes: pairs and patches that belong to the concept, with nulls."""

from palimpsest.lcr.tables._rows import frame_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("cooccurrence",)
PARAMS = {"models": None}

COUNT, SHARE = Format(0), Format(1, "percent")


def build(lookup: Lookup, params: dict) -> Table:
    """Measured and null for pairs of neighbours and for square patches."""
    pairs = "Neighbouring pairs in the region"
    rows = [
        (pairs, "Pairs over-represented (5 % FDR)", "significant_pairs", {}, COUNT),
        (pairs, "… cells shuffled (null)", "significant_pairs_null", {}, COUNT),
        (pairs, "Mutual information (bits)", "pair_mutual_information_bits", {}, Format(2)),
        (pairs, "… cells shuffled (null)", "pair_mutual_information_bits_null", {}, Format(2)),
    ]
    for patch, called in (("2x2", "Patches of 2 × 2 cells"), ("3x3", "Patches of 3 × 3 cells")):
        rows += [
            (called, "Explicit patches", "explicit_patches", {"patch": patch}, COUNT),
            (called, "… codes shuffled (null)", "explicit_patches_null", {"patch": patch}, COUNT),
            (called, "Share of the region covered", "patch_coverage", {"patch": patch}, SHARE),
            (called, "… codes shuffled (null)", "patch_coverage_null", {"patch": patch}, SHARE),
            (called, "… of safe images (false hits)", "patch_coverage_safe", {"patch": patch}, SHARE),
        ]
    frame, formats = frame_of(rows, lookup, params["models"])
    return Table(
        frame,
        caption="Combinations of codes, learned on the fit sets. A pair counts when it is more frequent in the region "
        "than in safe images; a patch is explicit, as published, when it is frequent in the forget set and its ratio "
        "of raw counts exceeds 2.5. Nulls shuffle codes; their intervals are quantiles over shuffles.",
        label="tab:lcr-cooccurrence",
        formats=formats,
        group="group",
        widths={"Quantity": 0.36},
    )
