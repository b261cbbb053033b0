"""Several concepts erased at once, beside each alone."""

import pandas as pd

from palimpsest.report.erased import intervals, under
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table
from palimpsest.var.names import name_of

MEASUREMENTS = ("together", "comparison")
PARAMS = {"models": None, "studies": ["together"], "shown": ["s_vare", "s_vare_corrected"]}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: methods, each alone and together; for each concept what is erased, and kept of the rest."""
    rows = []
    for model in params["models"]:
        for method in params["shown"]:
            for study, title in (("comparison", "alone"), ("together", "at once")):
                cells = {("", "Method"): f"{name_of(method)}, {title}"}
                for concept in params["studies"]["together"]["concepts"]:
                    here = lookup.of(model=model, study=study, method=method, concept=concept)
                    cells |= under(name_of(concept), here)
                rows.append(cells)
    frame = pd.DataFrame(rows)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    shown = {
        name: Format(0, "percent", better="high", interval=name == "erased") for name in ("erased", "near", "rest")
    }
    return Table(
        frame,
        caption="Several concepts erased from one model at once, beside each erased alone: erased (%), and kept (%) "
        "near it and elsewhere.",
        label="tab:var-together",
        formats=shown,
        wide=True,
        notes=f"{intervals('prompts', params['studies']['together'], ' (Wilson’s)')} Prompts of the rest of one "
        "concept may ask for another one.",
    )
