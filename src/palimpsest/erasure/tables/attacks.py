"""What attacks bring back of an erased concept, beside what they reach with networks that know less, and more."""

from palimpsest.erasure.names import name_of
from palimpsest.report import erased
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table

MEASUREMENTS = ("comparison", "networks")
PARAMS = {"models": None, "methods": None, "oracles": None, "attacks": None, "studies": ["comparison"]}

ATTACKS = {
    "Search": ("searched", "with words before them that were found with the edited model"),
    "Learned": ("inverted", "of prompts without the concept after a word learned from pictures"),
    "Noised": ("noised", "pictures of it noised and drawn on"),
    "Completed": ("completed", "pictures of it of which a part is given and the rest drawn anew"),
}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: networks and methods; columns: attacks that were made, all concepts together."""
    return erased.attacks(lookup, params, name_of, "tab:erasure-attacks", ATTACKS)
