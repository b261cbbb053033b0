"""What each part of S-VARE does: one thing changed at a time, on concepts of the comparison."""

from palimpsest.report import erased
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table
from palimpsest.var.names import name_of

MEASUREMENTS = ("ablation",)
OPTIONAL = erased.OF_THE_REST
PARAMS = {"models": None, "studies": ["ablation"]}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: options of the study."""
    caption = "S-VARE as corrected, one thing changed at a time"
    return erased.changes(lookup, params, name_of, "ablation", caption, "tab:var-ablations")
