"""What each method costs, counted: images that went forwards and backwards through the network."""

import pandas as pd

from palimpsest.instance.names import name_of
from palimpsest.instance.tables._rows import ONE
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("comparison",)
PARAMS = {"models": None, "methods": None}
# Of methods with two gradients only.
OPTIONAL = ("conflict_rate",)

# Per step and batch, as derived for the published procedures; a backward counts as two forwards.
THEORY = {
    "naive_deletion": "3",
    "neggrad": "3",
    "neggrad_plus": "6",
    "unpromptable": "6; 7 distilled",
    "unpromptable_drawn": "6",
    "replace": "6",
    "erasediff_port": "6",
    "siss_no_is": "6",
    "siss": "5",
    "erasediff_bome": "6; 7 + 3 for each inner step",
    "retrack": "6",
}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: methods, as they were trained for one target in the comparison."""
    rows = []
    for model in params["models"]:
        for method in params["methods"]:
            here = lookup.of(model=model, method=method, study="comparison", **ONE)
            counted = ("steps", "batch", "forwards", "backwards")
            steps, batch, forwards, backwards = (here.get(key).value for key in counted)
            rows.append(
                {
                    "Method": name_of(method),
                    "Steps": steps,
                    "Forward": forwards,
                    "Backward": backwards,
                    "Units per step": (forwards + 2 * backwards) / steps / batch,
                    "Expected": THEORY.get(method, "–"),
                    "Conflicts": here.get("conflict_rate").value,
                }
            )
    return Table(
        pd.DataFrame(rows),
        caption="What forgetting one target costs: images that went forwards and backwards through the network, and "
        "forward passes of one batch per step, a backward counted as two.",
        label="tab:instance-cost",
        wide=True,
        formats={
            "Steps": Format(0),
            "Forward": Format(0),
            "Backward": Format(0),
            "Units per step": Format(1),
            "Conflicts": Format(0, "percent"),
        },
        notes="Counts, not seconds: they are the same on every machine. Conflicts: share of steps (%) at which the "
        "gradients point against each other. Distilled: the frozen network’s prediction is one forward more. The "
        "bilevel form takes inner steps where its barrier is their gain.",
    )
