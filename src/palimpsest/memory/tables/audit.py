"""The audit, all concepts together: reconstructions of erased pictures, and how likely their seeds are."""

import pandas as pd

from palimpsest.memory.tables._audits import FORMATS, cells, notes
from palimpsest.memory.tables._rows import group_of, rows_together
from palimpsest.report.erased import beside_oracles
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table

MEASUREMENTS = ("audit",)
PARAMS = {"models": None, "methods": None, "oracles": None, "inversion": None}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: networks that nothing was erased from, those that know nothing, the edits of each method."""
    rows = [
        {
            "group": group_of(method),
            "Model": title,
            **cells(here),
        }
        for model in params["models"]
        for method, title, here in rows_together(lookup, params, model)
    ]
    return Table(
        pd.DataFrame(rows),
        caption="The audit by inversion: what models give back of pictures of the concepts, and how likely the seeds "
        "are. What networks that know nothing reach is no memory.",
        label="tab:memory-audit",
        formats=FORMATS,
        group="group",
        wide=True,
        notes=f"{beside_oracles(params)}{notes(lookup, params)}",
    )
