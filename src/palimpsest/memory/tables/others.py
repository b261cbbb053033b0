"""The audit of checkpoints that others erased a concept from, as of our edits."""

import pandas as pd

from palimpsest.memory.names import name_of
from palimpsest.memory.tables._audits import FORMATS, cells, notes
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("audit", "compared")
PARAMS = {"models": None, "others": None, "inversion": None}
OPTIONAL = ("remembered",)  # beyond an oracle


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: checkpoints, each on its own concept; columns: as in the audit of ours, and what is beyond the oracle."""
    rows = []
    for model in params["models"]:
        for name, about in params["others"][model].items():
            here = lookup.of(model=model, method=about["method"], concept=about["concept"], checkpoint=name)
            rows.append(
                {
                    "Checkpoint": name.replace("_", " "),
                    "Method": name_of(about["method"]),
                    "Concept": name_of(about["concept"]),
                    **cells(here),
                    "shift": here.get("shift"),
                    "remembered": here.get("remembered"),
                }
            )
    return Table(
        pd.DataFrame(rows),
        caption="The audit by inversion of checkpoints that others erased a concept from, each on its own concept.",
        label="tab:memory-others",
        formats={**FORMATS, "shift": Format(2, interval=False), "remembered": Format(2, interval=False)},
        wide=True,
        notes=f"{notes(lookup, params)} Shift, remembered: as in the table beyond the oracle.",
    )
