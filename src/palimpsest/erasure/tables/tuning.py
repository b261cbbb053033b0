"""What the tuning tried of every method on concepts that are not reported, and what its rule chose."""

from palimpsest.erasure.names import name_of
from palimpsest.report import erased
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table

MEASUREMENTS = ("tuning", "tuning_choice")
PARAMS = {"models": None, "grids": None, "studies": ["tuning"], "released_tunings": None}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: methods by setting."""
    return erased.tuning(lookup, params, name_of, "tab:erasure-tuning")
