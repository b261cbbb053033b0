"""What a study of the surrogate method's settings shares."""

from palimpsest.instance.tables._rows import line
from palimpsest.report.lookup import Lookup


def study_rows(lookup: Lookup, params: dict, study: str, names: dict[str, str], published: dict | None = None) -> list:
    """A row for every setting of the study, in the order of `names`, then those that have no name there."""
    rows = []
    for model in params["models"]:
        here = lookup.of(model=model, method="surrogate", study=study)
        known = list(here.rows("similarity_target", targets="mean")["setting"].unique())
        for setting in sorted(known, key=lambda text: (list(names).index(text) if text in names else len(names), text)):
            rows.append(line(here, names.get(setting, setting), {"setting": setting}, (published or {}).get(setting)))
    return rows
