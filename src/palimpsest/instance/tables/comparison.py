"""Every method, tuned alike, on held-out targets: one, and several in sequence (the paper's Table I)."""

from palimpsest.instance.names import name_of
from palimpsest.instance.published import MARKED, MARKED_SEQUENCE, SEQUENCE, SINGLE
from palimpsest.instance.tables._rows import counts, explained, forgets, line, table
from palimpsest.instance.tables._settings import described, in_full
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table, number

MEASUREMENTS = ("comparison", "networks", "reference", "tuning_choice")
PARAMS = {
    "models": None,
    "methods": None,
    "studies": ["comparison"],
    "evaluation": None,
    "judges": None,
    "fixed": ["unpromptable"],
    "grids": ["unpromptable"],
}

REFERENCES = ("pretrained", "oracle")
PUBLISHED_TARGETS = 4  # of the source's sequence
MARKED_ROW = "the source’s †"


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: the pretrained model and the oracle, then every method, for each list of targets of the study."""
    rows, compared = [], []
    for model in params["models"]:
        for count in counts(lookup, study="comparison", model=model):
            published, marked = (SINGLE, MARKED) if count == 1 else (SEQUENCE, MARKED_SEQUENCE)
            published = {**published, MARKED_ROW: marked}
            for method in (*REFERENCES, *params["methods"], MARKED_ROW):
                labels = {"method": method, "study": "comparison", "model": model, "count": count}
                row = line(lookup, name_of(method), labels, published.get(method))
                rows.append({**row, ("", "group"): "one target" if count == 1 else f"{count} targets in sequence"})
                compared.append(method in params["methods"] and forgets(row))
    return table(
        rows,
        "Method",
        "Forgetting and integrity on test targets, every method with the setting that the rule of selection chose for "
        "it on the tuning targets.",
        "tab:instance-comparison",
        notes(lookup, params),
        full=True,
        group="group",
        compared=compared,
    )


def notes(lookup: Lookup, params: dict) -> str:
    """Columns, basis, Unpromptable's setting in full, and how far the published rows can be compared."""
    model = params["models"][0]
    held_out = number(lookup.get("plausible_data", model=model).value, Format(0, "percent"))
    chosen = ", ".join(lookup.rows("selected", model=model, method="unpromptable")["setting"])
    counted = max(counts(lookup, study="comparison", model=model), default=1)
    return (
        f"{explained(params, 'comparison')} Of held-out pictures {held_out} % are plausible. Unpromptable, the method "
        f"of Lee et al., here: {described(in_full(params, 'unpromptable', chosen))}. Published rows had one budget "
        "each, untuned, and are means of six experiments; the source’s sequence has "
        f"{PUBLISHED_TARGETS} targets, ours {counted}. "
        "EraseDiff’s stands beside the port that such papers run, NegGrad’s beside the form with a remember loss that "
        "the source describes. †: a second row of the source’s method, whose mark is not explained in what is known of "
        "it; most likely what is remembered was drawn by the model, as in the table of what is remembered."
    )
