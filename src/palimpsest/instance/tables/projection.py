"""Gradient surgery, with a paired comparison over seeds and targets (the paper's Table IV)."""

import pandas as pd

from palimpsest.instance.published import PROJECTION
from palimpsest.instance.tables._rows import table
from palimpsest.instance.tables._settings import study_rows, unless
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table, number

MEASUREMENTS = ("projection",)
PARAMS = {"models": None, "studies": ["projection"], "evaluation": None, "fixed": ["unpromptable"]}
NAMES = {
    "none": "no projection",
    "forget": "forget gradient only",
    "remember": "remember gradient only",
    "both": "both (PCGrad)",
    "forget_per_layer": "forget gradient, layer by layer",
}
SMALL = Format(3)
SHOWN = {"similarity_target": "S", "perceptual": "Change", "ssim": "SSIM", "frechet_pretrained": "FD pre"}
# A study need not name the setting that the others are compared with.
OPTIONAL = tuple(f"{kind}_{metric}" for kind in ("paired", "detectable") for metric in SHOWN)


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: projections; the note gives the paired differences to no projection."""
    rows = study_rows(lookup, params, "projection", NAMES, PROJECTION)
    differences = pd.concat([lookup.rows(f"paired_{metric}", study="projection") for metric in SHOWN])
    parts, pairs = [], int(differences["n"].max()) if len(differences) else 0
    for setting, group in differences.groupby("setting", sort=False):
        shown = "; ".join(
            difference(lookup.of(study="projection", setting=setting), row) for _, row in group.iterrows()
        )
        parts.append(f"{NAMES.get(setting, setting)}: {shown}")
    return table(
        rows,
        "Projection",
        "Gradient surgery: which gradient loses what conflicts with the other.",
        "tab:instance-projection",
        f"{unless(params, 'projection')} Paired differences to no projection, with 95 % t intervals over "
        f"n = {pairs} pairs of target and seed; in parentheses the difference that so many would find with a power of "
        f"80 %: {'. '.join(parts)}.",
    )


def difference(here: Lookup, row: pd.Series) -> str:
    """A paired difference, its interval, and the one that could be found."""
    metric = row["metric"].removeprefix("paired_")
    value, low, high, found = (
        number(each, SMALL) for each in (row["value"], row["low"], row["high"], here.get(f"detectable_{metric}").value)
    )
    return f"{SHOWN[metric]} {value} [{low}, {high}] ({found})"
