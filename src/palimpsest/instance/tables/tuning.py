"""What the tuning tried of every method, and what the declared rule chose."""

import pandas as pd

from palimpsest.instance.names import name_of
from palimpsest.instance.tables._rows import line, table
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: methods by setting, the chosen one marked."""
    rows = []
    for model in params["models"]:
        for method in params["methods"]:
            here = lookup.of(model=model, method=method)
            settings = list(here.rows("similarity_target", study="tuning")["setting"].unique())
            chosen = set(here.rows("selected")["setting"])
            shared = set.intersection(*(set(setting.split(",")) for setting in settings)) if settings else set()
            for position, setting in enumerate(settings):
                own = ", ".join(part for part in setting.split(",") if part not in shared) or "default"
                mark = " *" if setting in chosen else ""
                row = line(here, name_of(method) if not position else "", {"setting": setting, "study": "tuning"})
                rows.append({**row, ("", "Setting"): own + mark})
    first = [("", "Row"), ("", "Setting")]
    frame = pd.DataFrame(rows)
    ordered = frame[first + [column for column in frame.columns if column not in first]]
    return table(
        ordered.to_dict("records"),
        "Method",
        "The tuning: as many settings of every method on a target of its own. Of those that forget with samples "
        "at least 0.95 times as plausible as the pretrained model’s, the one with the smallest FD pre is taken (*); "
        "where there is none, the same of all that forget; where none does, the one that forgets most.",
        "tab:instance-tuning",
        params,
        compared=[False] * len(rows),
    )
