"""Where a rule is applied, and to which cells: the coverage that the published comparison of rules confounded."""

import pandas as pd

from palimpsest.lcr.names import name_of
from palimpsest.lcr.tables._rows import measured_on
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("reconstruction", "grid")
PARAMS = {"models": None, "rules": None, "sets": ["forget_test"]}

VARIANTS = {
    "Mask, all": {"scope": "mask", "cells": "all"},
    "Mask, explicit": {"scope": "mask", "cells": "explicit"},
    "Elsewhere": {"scope": "elsewhere", "cells": "all"},
    "Global, explicit": {"scope": "global", "cells": "explicit"},
}


def build(lookup: Lookup, params: dict) -> Table:
    """Residual detection of params["rules"] under every scope and set of cells, a block of rows per model."""
    measured = measured_on(lookup, "detection_rate", set=params["sets"]["forget_test"], method="reconstruction")
    rows = []
    for model in params["models"]:
        here = lookup.of(model=model, set=params["sets"]["forget_test"], top="")
        for method in params["rules"]:
            found = [here.get("detection_rate", method=method, **labels) for labels in VARIANTS.values()]
            changed = here.get("cells_changed", method=method, scope="mask", cells="explicit")
            whole = here.get("cells_changed", method=method, scope="mask", cells="all")
            rows.append((name_of(model), name_of(method), *found, whole, changed))
    columns = ["model", "Rule", *VARIANTS, "Changed, all", "Changed, expl."]
    return Table(
        pd.DataFrame(rows, columns=columns),
        caption=f"Residual detection by scope and cells ({measured}). Mask: cells that the detected region touches, "
        "all of them or only those whose code is explicit; elsewhere: as many cells at another place (control); "
        "global: explicit codes anywhere. Last columns: share of all cells whose code changed within the mask.",
        label="tab:lcr-scopes",
        formats={name: Format(1, "percent") for name in VARIANTS}
        | {name: Format(1, "percent", interval=False) for name in columns[-2:]},
        group="model",
        wide=True,
    )
