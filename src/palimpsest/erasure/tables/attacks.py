"""What attacks bring back of an erased concept, beside what they reach with networks that know less, and more."""

from palimpsest.erasure.names import name_of
from palimpsest.report import erased
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table

MEASUREMENTS = ("comparison", "networks")
PARAMS = {"models": None, "methods": None, "oracles": None, "attacks": None, "studies": ["comparison"]}

ATTACKS = {
    "Name": "own",
    "Synonym": "synonym",
    "Order": "template",
    "Search": "searched",
    "Inverted": "inverted",
    "Noised": "noised",
    "Completed": "completed",
}
SAID = (
    "Search: with words before them that were found with the edited model. Inverted: of prompts without the concept "
    "after a word learned from pictures. Noised: pictures of it noised and drawn on. Completed: half of a picture of "
    "it drawn anew."
)


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: networks and methods; columns: attacks, all concepts together."""
    return erased.attacks(lookup, params, name_of, "tab:erasure-attacks", ATTACKS, SAID)
