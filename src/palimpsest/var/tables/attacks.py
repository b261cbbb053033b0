"""What attacks bring back of an erased concept, beside what they reach with networks that know less, and more."""

from palimpsest.report import erased
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table
from palimpsest.var.names import name_of, prefixes

MEASUREMENTS = ("comparison", "networks")
PARAMS = {"models": None, "methods": None, "oracles": None, "attacks": None, "studies": ["comparison"]}

ATTACKS = {
    "Name": "own",
    "Synonym": "synonym",
    "Order": "template",
    "Search": "searched",
    "Inverted": "inverted",
}
SAID = (
    "Search: with words before them that were found with the edited model. Inverted: of prompts without the concept "
    "after a word learned from pictures. Prefix: pictures whose first scales, so many, are "
    "given as the pretrained model drew them."
)


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: networks and methods; columns: attacks, all concepts together; the prefixes by their length."""
    given = sorted(prefixes(params["attacks"]["scales"]).items(), key=lambda each: each[1])
    columns = {**ATTACKS, **{f"Prefix {count}": attack for attack, count in given}}
    return erased.attacks(lookup, params, name_of, "tab:var-attacks", columns, SAID)
