"""The judges of faces, on people they were not trained on."""

import math

import pandas as pd

from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("judges",)
PARAMS = {"judges": None}

ROWS = {
    "same person, 1 % quantile": ("descriptor", "same_q1", Format(2)),
    "same person, median": ("descriptor", "same_q50", Format(2)),
    "different people, median": ("descriptor", "different_q50", Format(2)),
    "different people, 95 % quantile": ("descriptor", "different_q95", Format(2)),
    "different people, 99 % quantile": ("descriptor", "different_q99", Format(2)),
    "best threshold": ("descriptor", "best_threshold", Format(2)),
    "balanced accuracy there": ("descriptor", "best_accuracy", Format(4)),
    "same person above 0.4": ("descriptor", "same_above_threshold", Format(1, "percent")),
    "different people above 0.4": ("descriptor", "different_above_threshold", Format(1, "percent")),
}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: what the descriptor reads for same and different people, and how well attributes are read."""
    rows = [
        {
            "Judge": params["judges"][role],
            "On held-out people": name,
            "Value": lookup.get(metric, family="judges").value,
        }
        for name, (role, metric, _) in ROWS.items()
    ]
    formats = [style for _, _, style in ROWS.values()]
    table = lookup.table
    found = table[table["metric"].str.endswith("_r2") & (table["family"] == "judges")]
    if len(found):
        worst = found.loc[found["value"].idxmin()]
        name = worst["metric"].removesuffix("_r2").replace("_", " ")
        for label, value in (
            ("attributes, mean R²", found["value"].mean()),
            (f"worst read, {name}, R²", worst["value"]),
        ):
            rows.append({"Judge": params["judges"]["features"], "On held-out people": label, "Value": value})
            formats.append(Format(3))
    kept = [place for place, row in enumerate(rows) if not math.isnan(row["Value"])]
    people = lookup.rows("same_q50", family="judges")["n"].max()
    return Table(
        pd.DataFrame([rows[place] for place in kept]),
        caption=f"The judges of faces, on {people:g} people (no intervals): cosines of the identity descriptor for two "
        "pictures of one person and of two people, and how well the attributes are read.",
        label="tab:instance-judges",
        formats=[formats[place] for place in kept],
        notes="The source’s limit of 0.4 is taken over: few pairs of strangers lie above it. The threshold that "
        "separates pairs of one person from pairs of two best is another.",
    )
