"""What the family's tables share: which rows there are, and what their columns mean."""

from collections.abc import Iterator

import pandas as pd

from palimpsest.memory.names import name_of
from palimpsest.report.erased import ALL, WITH_ORACLE, titled
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format

NETWORKS, IGNORANT = ("pretrained", "oracle"), ("random", "zero")
SHARE = Format(0, "percent", interval=False)
OK = "ok: inversions within the tolerance (%), of which alone the other columns are; a dash: there is none."
DEFINED = (
    "E: pictures of the concept that the pretrained model drew; R: its pictures of other captions; z: the NLL of a "
    "seed about the mean of that of N(0, I), in its standard deviations."
)


def rows_of(params: dict, model: str) -> list[str]:
    """The networks that know the rest, those that know nothing, and the methods; an oracle only where there is one."""
    known = [name for name in NETWORKS if name != "oracle" or params["oracles"][model]]
    return [*known, *IGNORANT, *params["methods"]]


def rows_together(lookup: Lookup, params: dict, model: str) -> Iterator[tuple[str, str, Lookup]]:
    """Method, title and measurements of each row of a model, on all concepts together."""
    for method, title, concept in titled(rows_of(params, model), params["oracles"][model], name_of):
        yield method, title, lookup.of(model=model, method=method, concept=concept)


def group_of(method: str) -> str:
    """The spanning row that a row stands below."""
    return "networks that know nothing" if method in IGNORANT else "" if method in NETWORKS else "edited"


def counted(rows: pd.DataFrame) -> str:
    """How many pictures measurements are of, where each is of one concept or of several together."""
    counts = (rows.loc[~rows["concept"].isin([ALL, WITH_ORACLE]), "n"] / rows["seeds"]).dropna().astype(int)
    return str(counts.max()) if counts.nunique() == 1 else f"{counts.min()} to {counts.max()}"


def described(inversion: dict) -> str:
    """How was inverted, as a sentence of the notes."""
    said = (
        f"Inverted without guidance by {name_of(inversion['solver'])}: {inversion['steps']} steps of at most "
        f"{inversion['iterations'] + 1} evaluations, to a residual of {inversion['tolerance']:g}."
    )
    if not (own := inversion.get("edits")):
        return said
    whole = {**inversion, **own}
    return f"{said} Edits in {whole.get('precision', 'float32')}, to a residual of {whole['tolerance']:g}."
