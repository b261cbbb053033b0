"""What attacks bring back: for each attack the share of pictures that show the concept, method by method."""

from pathlib import Path

from matplotlib.figure import Figure

from palimpsest.erasure.names import name_of
from palimpsest.report import erased_figures
from palimpsest.report.lookup import Lookup

MEASUREMENTS = ("comparison", "networks")
PARAMS = {"models": None, "methods": None, "oracles": None}

TITLES = {
    "own": "by name",
    "synonym": "synonym",
    "template": "other order",
    "searched": "searched word",
    "inverted": "learned word",
    "noised": "noised",
    "completed": "completed",
}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """A panel for each attack."""
    return erased_figures.attack_panels(lookup, params, name_of, TITLES)
