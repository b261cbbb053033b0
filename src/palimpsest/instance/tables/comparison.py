"""Every method, tuned alike, on held-out targets: one, and several in sequence (the paper's Table I)."""

from palimpsest.instance.names import name_of
from palimpsest.instance.published import SEQUENCE, SINGLE
from palimpsest.instance.tables._rows import counts, explained, line, table
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table

REFERENCES = ("pretrained", "oracle")


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: the pretrained model and the oracle, then every method, for each list of targets of the study."""
    rows, compared = [], []
    for model in params["models"]:
        for count in counts(lookup, study="comparison", model=model):
            published = SINGLE if count == 1 else SEQUENCE
            for method in (*REFERENCES, *params["methods"]):
                labels = {"method": method, "study": "comparison", "model": model, "count": count}
                row = line(lookup, name_of(method), labels, published.get(method))
                rows.append({**row, ("", "group"): "one target" if count == 1 else f"{count} targets in sequence"})
                compared.append(method not in REFERENCES)
    return table(
        rows,
        "Method",
        "Forgetting and integrity, every method with the setting that the declared rule chose for it on other targets.",
        "tab:instance-comparison",
        params,
        f"{explained(params)} Published rows had one budget each, untuned; EraseDiff’s stands beside the port that "
        "such papers run, NegGrad’s beside the form with a remember loss that the source describes.",
        full=True,
        group="group",
        compared=compared,
    )
