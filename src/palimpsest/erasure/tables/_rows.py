"""What the family's tables share: rows of networks and methods, and what the columns mean."""

from palimpsest.erasure.names import name_of
from palimpsest.report.lookup import Lookup

NETWORKS = ("pretrained", "oracle", "random")
BASIS = (
    "Intervals are 95 %, over prompts (Wilson’s for shares, bootstrap for means); each method was tuned on other "
    "concepts, with one seed of training for each listed."
)


def of(lookup: Lookup, model: str, method: str) -> Lookup:
    """The measurements of a network or of a method's edits in the comparison."""
    study = "networks" if method in NETWORKS else "comparison"
    return lookup.of(model=model, method=method, study=study)


def rows_of(params: dict, model: str) -> list[str]:
    """The rows of a model: networks that nothing was erased from, its oracles only where it has some, then methods."""
    networks = [name for name in NETWORKS if name != "oracle" or params["oracles"][model]]
    return [*networks, *params["methods"]]


def title_of(method: str, oracles: list[str]) -> str:
    """How a row is called; oracles: the concepts that there are oracles of."""
    return f"{name_of(method)}: {', '.join(map(name_of, oracles))}" if method == "oracle" else name_of(method)
