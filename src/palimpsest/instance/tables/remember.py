"""What is remembered: data, the pretrained model's own samples, or its predictions."""

from palimpsest.instance.published import MARKED, SINGLE
from palimpsest.instance.tables._rows import forgets, line, table
from palimpsest.instance.tables._settings import study_rows, unless
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table

MEASUREMENTS = ("remember",)
PARAMS = {"models": None, "studies": ["remember"], "evaluation": None, "fixed": ["unpromptable"]}

NAMES = {
    "data": "data",
    "generated": "generated pictures",
    "distilled": "data, distilled",
}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: ours by what is remembered, then the published two, of which one is marked in an unknown way."""
    ours = study_rows(lookup, params, "remember", NAMES)
    published = {"published": SINGLE["unpromptable"], "published, with a dagger": MARKED}
    theirs = [line(lookup, name, {"model": "published"}, row) for name, row in published.items()]
    return table(
        [*ours, *theirs],
        "Remembered",
        "The remember loss: on the data, on the pretrained model’s own samples, or on its predictions for the data.",
        "tab:instance-remember",
        f"{unless(params, 'remember')} What the dagger of the published row means is lost; generated pictures, a "
        "constant weight and no projection are the candidates, all of them measured here.",
        compared=[forgets(row) for row in ours] + [False] * len(theirs),
    )
