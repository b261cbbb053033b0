"""What each part of S-VARE does: one thing changed at a time, on concepts of the comparison."""

import pandas as pd

from palimpsest.report.erased import in_brief
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table
from palimpsest.var.names import name_of

MEASUREMENTS = ("ablation",)
PARAMS = {"models": None, "studies": ["ablation"]}

FORMATS = {
    "Erased": Format(0, "percent", better="high"),
    "Words": Format(0, "percent", better="high", interval=False),
    "Near": Format(0, "percent", better="high"),
    "Rest": Format(0, "percent", better="high", interval=False),
    "Change": Format(3, better="low", interval=False),
    "FD": Format(2, better="low", interval=False),
}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: options of the study."""
    study, rows = params["studies"]["ablation"], []
    for model in params["models"]:
        for option in study["options"]:
            here = lookup.of(model=model, study="ablation", concept="all", setting=option["name"])
            rows.append(
                {
                    "Changed": option["name"].replace("_", " "),
                    **in_brief(here),
                    "Change": here.get("perceptual", prompts="rest"),
                    "FD": here.get("frechet", prompts="rest"),
                }
            )
    concepts = ", ".join(map(name_of, study["concepts"]))
    return Table(
        pd.DataFrame(rows),
        caption=f"S-VARE as corrected, one thing changed at a time (on {concepts}): erased (%) by name, kept (%) of "
        "the same prompts’ other words, of neighbours and of the rest; change of the rest’s pictures, and their "
        "Fréchet distance.",
        label="tab:var-ablations",
        formats=FORMATS,
        wide=True,
        notes="At what was tuned otherwise. Intervals are 95 %, over prompts.",
    )
