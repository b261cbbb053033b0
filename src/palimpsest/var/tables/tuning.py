"""What the tuning tried of every method on concepts that are not reported, and what its rule chose."""

from palimpsest.report import erased
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table
from palimpsest.var.names import name_of

MEASUREMENTS = ("tuning", "tuning_choice")
PARAMS = {"models": None, "grids": None, "studies": ["tuning"], "released_tunings": None}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: methods by setting."""
    return erased.tuning(lookup, params, name_of, "tab:var-tuning")
