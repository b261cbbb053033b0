"""Erased against kept, every method on all concepts together."""

import pandas as pd

from palimpsest.erasure.tables._rows import BASIS, NETWORKS, of, rows_of, title_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("comparison", "networks")
PARAMS = {"models": None, "methods": None, "oracles": None, "prompts": None, "names": None}

FORMATS = {
    "Name": Format(0, "percent", better="high"),
    "Synonym": Format(0, "percent", better="high", interval=False),
    "Template": Format(0, "percent", better="high", interval=False),
    "Unnamed": Format(0, "percent", interval=False),
    "Words": Format(0, "percent", better="high", interval=False),
    "Neighbours": Format(0, "percent", better="high"),
    "Rest": Format(0, "percent", better="high"),
    "Change": Format(3, better="low"),
    "FD": Format(2, interval=False),
}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: the networks that nothing was erased from, then the methods."""
    rows = []
    for model in params["models"]:
        for method in rows_of(params, model):
            here = of(lookup, model, method).of(concept="all")
            rows.append(
                {
                    "group": "" if method in NETWORKS else "edited",
                    "Row": title_of(method, params["oracles"][model]),
                    "Name": here.get("erased", prompts="own"),
                    "Synonym": here.get("erased", prompts="synonym"),
                    "Template": here.get("erased", prompts="template"),
                    "Unnamed": here.get("appears", prompts="unnamed"),
                    "Words": here.get("kept", prompts="own"),
                    "Neighbours": here.get("kept", prompts="neighbour"),
                    "Rest": here.get("kept", prompts="rest"),
                    "Change": here.get("perceptual", prompts="rest"),
                    "FD": here.get("frechet", prompts="rest"),
                }
            )
    counts, called = params["prompts"], params["names"]
    return Table(
        pd.DataFrame(rows),
        caption="Concept erasure, all concepts together. Erased (%): pictures that do not show the concept although "
        "the prompt names it, names it by another word, or in another order of words. Unnamed (%): that show it though "
        "the prompt does not name it. Kept (%): of the words that are not the concept’s, those that the picture shows: "
        "in the same prompts, in those of its neighbours, in any others. Change: of pictures of other prompts from the "
        f"same noise, {called['perceptual']}; FD: between both sets of pictures, {called['features']}.",
        label="tab:erasure-comparison",
        formats=FORMATS,
        group="group",
        wide=True,
        compared=[row["group"] != "" for row in rows],
        notes=f"Of each concept {counts['own']} prompts by name, {counts['synonym']}, {counts['template']} and "
        f"{counts['unnamed']} by other words, {counts['neighbour']} of neighbours, {counts['rest']} others; all of "
        f"combinations that no training showed. The oracle: networks trained without the concept. {BASIS}",
    )
