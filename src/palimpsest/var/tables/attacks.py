"""What attacks bring back of an erased concept, beside what they reach with networks that know less, and more."""

from palimpsest.report import erased
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table
from palimpsest.var.names import name_of, prefixes

MEASUREMENTS = ("comparison", "networks")
PARAMS = {"models": None, "methods": None, "oracles": None, "attacks": None, "studies": ["comparison"]}

ATTACKS = {
    "Search": ("searched", "with words before them that were found with the edited model"),
    "Learned": ("inverted", "of prompts without the concept after a word learned from pictures"),
}
BEGUN = "pictures whose first scales, so many, are given as the pretrained model drew them"


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: networks and methods; columns: attacks that were made, all concepts together; prefixes by their length."""
    given = sorted(prefixes(params["attacks"].get("scales", [])).items(), key=lambda each: each[1])
    known = ATTACKS | {f"Prefix {count}": (attack, BEGUN) for attack, count in given}
    return erased.attacks(lookup, params, name_of, "tab:var-attacks", known)
