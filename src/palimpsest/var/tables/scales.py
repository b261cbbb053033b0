"""What auxiliary tokens save at each scale: do they matter more where errors have more scales to add up?"""

import pandas as pd

from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table
from palimpsest.var.scales_measured import sides_of
from palimpsest.worlds.concepts import ALL

MEASUREMENTS = ("feeding",)
PARAMS = {"fed": None}

GIVEN = {"its own tokens (naive)": "concept_own", "safe tokens (VARE)": "concept_safe"}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: by model the loss given its own and given safe tokens, and the difference; columns: scales, and all."""
    here = lookup.of(concept=ALL)
    scales = {model: [str(side) for side in sides_of(here.of(model=model), "token_loss")] for model in params["fed"]}
    columns = [*sorted({scale for found in scales.values() for scale in found}, key=int), "all"]
    rows = []
    for model in params["fed"]:
        group = {"group": f"{len(scales[model])} scales"}
        for given, fed in GIVEN.items():
            losses = {scale: here.get("token_loss", model=model, fed=fed, scale=scale) for scale in columns}
            rows.append({**group, "Given": given, **losses})
        saved = {scale: here.get("token_loss_saved", model=model, scale=scale) for scale in columns}
        rows.append({**group, "Given": "saved, pair by pair", **saved})
    return Table(
        pd.DataFrame(rows),
        caption="What auxiliary tokens save, by the side of the scale (tokens): loss (nats a symbol) of the safe "
        "rollout’s tokens under the concept’s prompt, all concepts together.",
        label="tab:var-scales",
        formats=dict.fromkeys(columns, Format(2)),
        group="group",
        wide=True,
        compared=[False] * len(rows),
        notes="Intervals are 95 % (bootstrap), over pairs. At the first scale nothing was drawn before.",
    )
