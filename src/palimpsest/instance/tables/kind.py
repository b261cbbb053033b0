"""Kinds of surrogates (the paper's Table V), and three that need no editor: painted, nearest, edited by the model."""

from palimpsest.instance.names import name_of
from palimpsest.instance.published import KIND
from palimpsest.instance.tables._rows import line, own_similarity, table
from palimpsest.instance.tables._settings import unless
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table, number

MEASUREMENTS = ("strength", "kind", "surrogates")
PARAMS = {"models": None, "surrogates": None, "studies": ["kind"], "evaluation": None, "fixed": ["unpromptable"]}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: surrogates, the full edit from the study of its strength."""
    rows = []
    for model in params["models"]:
        here = lookup.of(model=model, method="unpromptable")
        for surrogate in params["surrogates"]:
            for study in ("strength", "kind"):
                found = here.rows("similarity_target", surrogate=surrogate, study=study)
                if len(found) and (study == "kind" or surrogate == "edit"):
                    own = own_similarity(lookup, model, surrogate, study)
                    name = f"{name_of(surrogate)} ({number(own)})"
                    rows.append(line(here, name, {"surrogate": surrogate, "study": study}, KIND.get(surrogate)))
    return table(
        rows,
        "Surrogate (its S)",
        "Unpromptable by the kind of surrogate; in brackets how alike the surrogate itself is to the target.",
        "tab:instance-kind",
        unless(params, "kind"),
    )
