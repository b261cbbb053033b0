"""How many pairs of prompts the judge keeps of each concept, and why it drops the others."""

import pandas as pd

from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table
from palimpsest.var.names import name_of

MEASUREMENTS = ("pairs",)
PARAMS = {"fed": None, "pairs": None}

VERDICTS = {"Kept": "kept", "Missing": "missing", "Remains": "remains"}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: by model its concepts; columns: the shares of each verdict."""
    rows = []
    for model in params["fed"]:
        here = lookup.of(model=model)
        for concept in here.rows("pairs")["concept"]:
            cells = {title: here.get(f"pairs_{verdict}", concept=concept) for title, verdict in VERDICTS.items()}
            found = {"Concept": name_of(concept), "Pairs": here.get("pairs", concept=concept), **cells}
            rows.append({"group": name_of(model) if len(params["fed"]) > 1 else "", **found})
    rollouts = params["pairs"]["rollouts"]
    counted = "once" if rollouts == 1 else f"{rollouts} times"
    return Table(
        pd.DataFrame(rows),
        caption="Pairs of prompts that the methods learn from: of how many (%) a judge keeps both pictures, of how "
        "many the first does not show the concept (missing), or the second still does (remains).",
        label="tab:var-pairs",
        formats={"Pairs": Format(0, "number", interval=False)} | {title: Format(0, "percent") for title in VERDICTS},
        group="group",
        notes=f"Each pair is drawn, and counted, {counted}. Intervals are 95 % (Wilson).",
    )
