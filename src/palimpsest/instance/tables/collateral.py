"""What else was forgotten: the target's neighbours against strangers, and how far every picture drifts."""

import pandas as pd

from palimpsest.instance.names import name_of
from palimpsest.instance.tables._rows import ONE, basis
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("comparison", "networks")
PARAMS = {"models": None, "methods": None, "studies": ["comparison"], "evaluation": None}
# Without a judge that reads attributes there is none.
OPTIONAL = ("attribute_drift",)

WITHIN = "intervals are over the remembered pictures, of Drift over the pairs, and none is over targets"
FORMATS = {
    "Neighbours": Format(3),
    "Strangers": Format(3),
    "Drift": Format(3),
    "Alike": Format(1, "percent", interval=False),
}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: the oracle and every method, forgetting one target."""
    rows = []
    for model in params["models"]:
        for method in ("oracle", *params["methods"]):
            here = lookup.of(model=model, method=method, study="comparison", **ONE)
            rows.append(
                {
                    "Method": name_of(method),
                    "Neighbours": here.get("collateral", kind="neighbour"),
                    "Strangers": here.get("collateral", kind="stranger"),
                    "Drift": here.get("attribute_drift"),
                    "Alike": here.get("samples_like_target"),
                }
            )
    return Table(
        pd.DataFrame(rows),
        caption="Collateral forgetting. Neighbours, strangers: change of how well a remembered picture is "
        "reconstructed, for those nearest to the target and for others (0: none). Drift: mean change of the attributes "
        "of same-seed samples, as a share of their range. Alike: free samples (%) more alike to the target than 0.4.",
        label="tab:instance-collateral",
        wide=True,
        formats=FORMATS,
        notes=f"Below zero: reconstructed worse than before. {basis(params, 'comparison', within=WITHIN)}",
    )
