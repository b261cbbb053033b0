"""Erased against kept, every method on all concepts together."""

from dataclasses import replace

import numpy as np

from palimpsest.report import erased
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table
from palimpsest.var.names import name_of
from palimpsest.worlds.concepts import ALL

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
    # What S-VARE's authors publish of it, "near": in the abstract, the one number that is known.
    "published": 0.97,
}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: the networks that nothing was erased from, then the methods."""
    table = erased.comparison(lookup, params, name_of, "tab:var-comparison")
    return replace(table, notes=f"{table.notes} {beside_published(lookup, params)}".strip())


def beside_published(lookup: Lookup, params: dict) -> str:
    """What is published of S-VARE beside what was measured; nothing where it was not."""
    released = "s_vare"
    measured = [erased.of(lookup, model, released).of(concept=ALL) for model in params["models"]]
    shares = [here.get("erased", prompts="own").value for here in measured]
    if released not in params["methods"] or np.isnan(shares).any():
        return ""
    ours = ", ".join(f"{100 * share:.0f}" for share in shares)
    published = f"{100 * params['published']:.0f} %"
    return f"{name_of(released)}: its authors publish near {published} erased, here it is {ours} %."
