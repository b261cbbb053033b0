"""Checkpoints that others erased a concept from, judged as ours are."""

import pandas as pd

from palimpsest.erasure.names import name_of
from palimpsest.report.erased import FORMATS, measured
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table

MEASUREMENTS = ("networks",)
PARAMS = {"models": None, "others": None}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: checkpoints, each on its own concept; columns: as in the comparison of ours."""
    rows = []
    for model in params["models"]:
        for name, about in params["others"].get(model, {}).items():
            labels = {"method": about["method"], "concept": about["concept"], "setting": name, "study": "networks"}
            here = lookup.of(model=model, **labels)
            row = {"Checkpoint": name.replace("_", " "), "Method": name_of(about["method"])}
            row |= {"Concept": name_of(about["concept"])}
            rows.append(row | measured(here))
    return Table(
        pd.DataFrame(rows),
        caption="Checkpoints that others erased a concept from, each on its own concept.",
        label="tab:erasure-others",
        formats={name: shown for name, shown in FORMATS.items() if name in rows[0]},
        wide=True,
        compared=[False] * len(rows),
        notes="Columns as in the table of our edits. Intervals are 95 %, over prompts.",
    )
