"""Every method, tuned alike, on held-out targets: one, and several in sequence (the paper's Table I)."""

from palimpsest.instance.names import name_of
from palimpsest.instance.published import SEQUENCE, SINGLE
from palimpsest.instance.tables._rows import line, table
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table

REFERENCES = ("pretrained", "oracle")


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: the pretrained model and the oracle, then every method, for each list of targets of the study."""
    rows, compared = [], []
    for model in params["models"]:
        found = lookup.rows("similarity_target", study="comparison", model=model)
        for targets in sorted(found["targets"].unique(), key=lambda text: text.count("+")):
            count = targets.count("+") + 1
            published = SINGLE if count == 1 else SEQUENCE
            group = f"{name_of(model)}, {'one target' if count == 1 else f'{count} targets in sequence'} ({targets})"
            for method in REFERENCES:
                labels = {"method": method, "study": "networks"}
                rows.append(line(lookup, name_of(method), {"model": model, "targets": targets, **labels}))
            for method in params["methods"]:
                labels = {"method": method, "study": "comparison", "targets": targets, "model": model}
                rows.append(line(lookup, name_of(method), labels, published.get(method)))
            size = len(REFERENCES) + len(params["methods"])
            compared += [False] * len(REFERENCES) + [True] * len(params["methods"])
            for row in rows[-size:]:
                row[("", "group")] = group
    return table(
        rows,
        "Method",
        "Forgetting and integrity, every method with the setting that the declared rule chose for it on other targets.",
        "tab:instance-comparison",
        params,
        "Published rows had one budget each, without tuning; EraseDiff’s stands beside the port that such papers run.",
        group="group",
        compared=compared,
    )
