"""What attacks bring back: for each attack the share of pictures that show the concept, method by method."""

from pathlib import Path

from matplotlib.figure import Figure

from palimpsest.report import erased_figures
from palimpsest.report.lookup import Lookup
from palimpsest.var.names import name_of

MEASUREMENTS = ("comparison", "networks")
PARAMS = {"models": None, "methods": None, "oracles": None}

TITLES = {
    "own": "by name",
    "synonym": "synonym",
    "template": "other order",
    "searched": "searched word",
    "inverted": "learned word",
    "prefix": "given scales",
}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """A panel for each attack."""
    return erased_figures.attack_panels(lookup, params, name_of, TITLES)
