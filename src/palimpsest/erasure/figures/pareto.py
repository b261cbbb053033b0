"""Erased against kept: each method on all concepts."""

from pathlib import Path

from matplotlib.figure import Figure

from palimpsest.erasure.names import name_of
from palimpsest.report import erased_figures
from palimpsest.report.lookup import Lookup

MEASUREMENTS = ("comparison", "networks")
PARAMS = {"models": None, "methods": None, "oracles": None}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """One panel for neighbours, one for the rest."""
    return erased_figures.pareto(lookup, params, name_of)
