"""Erased and kept, concept by concept."""

from palimpsest.report import erased
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table
from palimpsest.var.names import name_of

MEASUREMENTS = ("comparison", "networks")
PARAMS = {
    "models": None,
    "methods": None,
    "oracles": None,
    "studies": ["comparison"],
    # What counts as an erasure, as in the comparison.
    "erased": 0.9,
    "kept": 0.9,
}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: networks and methods."""
    return erased.by_concept(lookup, params, name_of, "tab:var-concepts")
