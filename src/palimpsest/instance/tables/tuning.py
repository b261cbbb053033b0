"""What the tuning tried of every method, and what the declared rule chose."""

import pandas as pd

from palimpsest.instance.names import name_of
from palimpsest.instance.tables._rows import OURS, line, table, worst_similarity
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Estimate, Table


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
                worst = Estimate(worst_similarity(here, setting=setting, study="tuning"))
                rows.append({**row, (OURS, "S"): worst, ("", "Setting"): own + mark})
    first = [("", "Row"), ("", "Setting")]
    frame = pd.DataFrame(rows)
    ordered = frame[first + [column for column in frame.columns if column not in first]]
    return table(
        ordered.to_dict("records"),
        "Method",
        "The tuning: as many settings of every method on targets of its own. Of those that forget all with samples "
        "at least 0.95 times as plausible as the pretrained model’s, the one with the smallest FD pre is taken (*); "
        "where there is none, the same of all that forget; where none does, the one that forgets most.",
        "tab:instance-tuning",
        params,
        "Columns as in the table that compares the methods, but S is the highest of the targets’ similarities, which "
        "the rule reads; the others are means over them.",
        compared=[False] * len(rows),
    )
