"""Targets in the training data and outside it (the paper's Table VI), and one that was there many times."""

from palimpsest.instance.published import DOMAIN
from palimpsest.instance.tables._rows import line, table
from palimpsest.instance.tables._settings import unless
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table

MEASUREMENTS = ("strength", "domain")
PARAMS = {"models": None, "rows": None, "studies": ["domain"], "evaluation": None, "fixed": ["unpromptable"]}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: params["rows"]: name to `study`, `targets` and the published row (`in` or `out`), if any."""
    rows = []
    for model in params["models"]:
        for name, given in params["rows"].items():
            # One target each: these rows are no means.
            labels = {
                "method": "unpromptable",
                "model": model,
                "count": "",
                **{key: given[key] for key in ("study", "targets")},
            }
            if given["study"] == "strength":
                labels["surrogate"] = "edit"
            rows.append(line(lookup, name, labels, DOMAIN.get(given.get("published"))))
    return table(
        rows,
        "Target",
        "Unpromptable on a target from the data, one of which the data held many copies, and one unlike any in them.",
        "tab:instance-domain",
        unless(params, "domain", to_a_row=True),
        compared=[False] * len(rows),
    )
