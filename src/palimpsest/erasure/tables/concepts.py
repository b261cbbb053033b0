"""Erased and kept, concept by concept."""

import pandas as pd

from palimpsest.erasure.names import name_of
from palimpsest.erasure.tables._rows import BASIS, NETWORKS, of, rows_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("comparison", "networks")
PARAMS = {"models": None, "methods": None, "oracles": None, "studies": ["comparison"]}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: networks and methods; for each concept what is erased by name, and what is kept of neighbours and rest."""
    rows = []
    for model in params["models"]:
        for method in rows_of(params, model):
            cells = {("", "Row"): name_of(method)}
            for concept in params["studies"]["comparison"]["concepts"]:
                here = of(lookup, model, method).of(concept=concept)
                cells |= {
                    (name_of(concept), "erased"): here.get("erased", prompts="own"),
                    (name_of(concept), "near"): here.get("kept", prompts="neighbour"),
                    (name_of(concept), "rest"): here.get("kept", prompts="rest"),
                }
            rows.append(cells)
    frame = pd.DataFrame(rows)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    return Table(
        frame,
        caption="Concept erasure by concept: erased (%), and kept (%) near it and elsewhere.",
        label="tab:erasure-concepts",
        formats={
            "erased": Format(0, "percent", better="high"),
            "near": Format(0, "percent", better="high", interval=False),
            "rest": Format(0, "percent", better="high", interval=False),
        },
        wide=True,
        compared=[row["", "Row"] not in map(name_of, NETWORKS) for row in rows],
        notes=f"Columns as in the table of all concepts. A dash: there is no oracle of this concept. {BASIS}",
    )
