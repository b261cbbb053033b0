"""The audit of each concept."""

import pandas as pd

from palimpsest.memory.names import name_of
from palimpsest.memory.tables._audits import FORMATS, cells, notes
from palimpsest.memory.tables._rows import rows_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table

MEASUREMENTS = ("audit",)
PARAMS = {"models": None, "methods": None, "concepts": None, "oracles": None, "inversion": None}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: by concept, the networks, then the edits of each method."""
    rows = []
    for model in params["models"]:
        for concept in params["concepts"]:
            for method in rows_of(params, model):
                if method != "oracle" or concept in params["oracles"][model]:
                    found = cells(lookup.of(model=model, method=method, concept=concept))
                    rows.append({"group": name_of(concept), "Model": name_of(method), **found})
    return Table(
        pd.DataFrame(rows),
        caption="The audit by inversion, concept by concept.",
        label="tab:memory-concepts",
        formats=FORMATS,
        group="group",
        long=True,
        size="scriptsize",
        notes=notes(lookup, params),
    )
