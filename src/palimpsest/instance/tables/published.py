"""Cross-checks of the published numbers among themselves: what can be read from them without any run."""

import pandas as pd

from palimpsest.instance.published import KIND, PROJECTION, SEQUENCE, SINGLE, STRENGTH, WEIGHT
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table


def listed(row: tuple) -> str:
    """A published row as text."""
    return " / ".join("–" if value is None else f"{value:g}" for value in row)


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: what is compared, in one place, in another, and what follows."""
    none, forget = PROJECTION["none"], PROJECTION["forget"]
    gaps = tuple(round(abs(a - b), 3) for a, b in zip(none, forget, strict=True))
    constant, aware = WEIGHT["constant, second"], WEIGHT["exponent, first"]
    passing = min(weight for weight, row in STRENGTH.items() if row[0] <= 0.4)
    rows = [
        ("headline row, and edit weight 32", listed(SINGLE["unpromptable"]), listed(STRENGTH[32.0]), "the same run"),
        ("edit of Table V, and exponent of III", listed(KIND["edit"]), listed(aware), "the same, easier set-up"),
        (
            "constant weight, and exponent",
            listed(constant),
            listed(aware),
            "the constant has the better SSCD and LPIPS",
        ),
        ("no projection, and forget only", listed(none), listed(forget), f"differences {listed(gaps)}, no interval"),
        (
            "EraseDiff, one target and four",
            listed(SINGLE["erasediff_port"]),
            listed(SEQUENCE["erasediff_port"]),
            "better with more targets",
        ),
        (
            "NegGrad, one target and four",
            listed(SINGLE["neggrad_plus"]),
            listed(SEQUENCE["neggrad_plus"]),
            "the budgets are not comparable",
        ),
        ("flip, marked as forgotten", listed(KIND["flip"]), "limit 0.4", "at most, not below, the limit"),
        ("first edit weight at most 0.4", listed(STRENGTH[passing]), f"weight {passing:g}", "the editor's default"),
    ]
    return Table(
        pd.DataFrame(rows, columns=["Compared", "One place", "Another", "Reading"]),
        caption="Cross-checks of the published numbers (SSCD / LPIPS / SSIM / FID to pretrained / FID to data).",
        label="tab:instance-published",
        widths={"Compared": 0.20, "One place": 0.25, "Another": 0.25, "Reading": 0.24},
        wide=True,
        notes="Published values only; nothing here was measured by this run.",
    )
