"""Erased against kept, every method on all concepts together."""

from palimpsest.erasure.names import name_of
from palimpsest.report import erased
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table

MEASUREMENTS = ("comparison", "networks")
PARAMS = {
    "models": None,
    "methods": None,
    "oracles": None,
    "prompts": None,
    "names": None,
    "data": None,
    "studies": ["comparison"],
    # What counts as an erasure of a concept: how many of the pictures by its name do not show it, and what is kept.
    "erased": 0.9,
    "kept": 0.9,
}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: the networks that nothing was erased from, then the methods."""
    return erased.comparison(lookup, params, name_of, "tab:erasure-comparison")
