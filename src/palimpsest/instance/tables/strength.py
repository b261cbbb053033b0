"""The strength of the surrogate's edit (the paper's Table II)."""

from palimpsest.instance.names import name_of
from palimpsest.instance.published import STRENGTH
from palimpsest.instance.tables._rows import line, own_similarity, table
from palimpsest.instance.tables._settings import unless
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table, number

MEASUREMENTS = ("strength", "surrogates")
PARAMS = {
    "models": None,
    "surrogates": None,
    "strengths": None,
    "axis": None,
    "studies": ["strength"],
    "evaluation": None,
    "fixed": ["unpromptable"],
}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: ours by strength, then the published by the editor's weight."""
    rows = []
    for model in params["models"]:
        here = lookup.of(model=model, method="unpromptable", study="strength")
        for surrogate in sorted(params["strengths"].keys() & params["surrogates"], key=params["strengths"].get):
            own = own_similarity(lookup, model, surrogate, "strength")
            strength = f"{name_of(surrogate)}, {params['strengths'][surrogate]:g}"
            rows.append(line(here, f"{strength} ({number(own)})", {"surrogate": surrogate}))
    rows += [line(lookup, f"CLIP weight {weight:g}", {"model": "published"}, row) for weight, row in STRENGTH.items()]
    return table(
        rows,
        "Edit, strength (its S)",
        "Unpromptable by the strength of the surrogate’s edit.",
        "tab:instance-strength",
        f"{unless(params, 'strength')} In brackets how alike the surrogate itself is. Strength: {params['axis']}. The "
        "published axis is another editor’s weight.",
    )
