"""The audit, all concepts together: reconstructions of erased pictures, and how likely their seeds are."""

import pandas as pd

from palimpsest.memory.names import name_of
from palimpsest.memory.tables._audits import FORMATS, cells, notes
from palimpsest.memory.tables._rows import group_of, rows_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table

MEASUREMENTS = ("audit",)
PARAMS = {"models": None, "methods": None, "oracles": None, "inversion": None}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: networks that nothing was erased from, those that know nothing, the edits of each method."""
    rows = [
        {
            "group": group_of(method),
            "Model": name_of(method),
            **cells(lookup.of(model=model, method=method, concept="all")),
        }
        for model in params["models"]
        for method in rows_of(params, model)
    ]
    return Table(
        pd.DataFrame(rows),
        caption="The audit by inversion: what models give back of pictures of the concepts, and how likely the seeds "
        "are. What networks that know nothing reach is no memory.",
        label="tab:memory-audit",
        formats=FORMATS,
        group="group",
        wide=True,
        notes=notes(lookup, params),
    )
