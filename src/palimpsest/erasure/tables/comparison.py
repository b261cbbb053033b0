"""Erased against kept, every method on all concepts together."""

import math

import pandas as pd

from palimpsest.erasure.tables._rows import BASIS, NETWORKS, of, rows_of, title_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Estimate, Format, Table

MEASUREMENTS = ("comparison", "networks")
PARAMS = {
    "models": None,
    "methods": None,
    "oracles": None,
    "prompts": None,
    "names": None,
    "studies": ["comparison"],
    # What counts as an erasure of a concept: how many of the pictures by its name do not show it, and what is kept.
    "erased": 0.9,
    "kept": 0.9,
}

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
    "On": Format(0, "number", interval=False),
}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: the networks that nothing was erased from, then the methods."""
    rows, concepts = [], params["studies"]["comparison"]["concepts"]
    for model in params["models"]:
        for method in rows_of(params, model):
            here = of(lookup, model, method).of(concept="all")
            rows.append(
                {
                    "group": "" if method in NETWORKS else "edited",
                    "Row": title_of(method, params["oracles"][model]),
                    **measured(here),
                    "On": erasures(here, concepts, params["erased"], params["kept"]),
                }
            )
    counts, called = params["prompts"], params["names"]
    erased, kept = (f"{100 * params[name]:.0f} %" for name in ("erased", "kept"))
    return Table(
        pd.DataFrame(rows),
        caption="Concept erasure, all concepts together. Erased (%): pictures that do not show the concept although "
        "the prompt names it, names it by another word, or in another order of words. Unnamed (%): that show it though "
        "the prompt does not name it. Kept (%): of the words that are not the concept’s, those that the picture shows: "
        "in the same prompts, in those of its neighbours, in any others. Change: of pictures of other prompts from the "
        f"same noise, {called['perceptual']}; FD: between both sets of pictures, {called['features']}. On: of how many "
        f"of the {len(concepts)} concepts {erased} are erased by name while {kept} is kept of neighbours and the rest.",
        label="tab:erasure-comparison",
        formats=FORMATS,
        group="group",
        wide=True,
        compared=[row["group"] != "" for row in rows],
        notes=f"Of each concept {counts['own']} prompts by name, {counts['synonym']}, {counts['template']} and "
        f"{counts['unnamed']} by other words, {counts['neighbour']} of neighbours, {counts['rest']} others; all of "
        f"combinations that no training showed. The oracle: networks trained without the concept. {BASIS}",
    )


def measured(here: Lookup) -> dict[str, Estimate]:
    """The cells of a model, on one concept or on all together."""
    return {
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


def erasures(here: Lookup, concepts: list[str], erased: float, kept: float) -> Estimate:
    """On how many concepts an edit erases and keeps so much; of a network that was not measured on all, no number."""
    count = 0
    for concept in concepts:
        by_name = here.get("erased", prompts="own", concept=concept).value
        others = [here.get("kept", prompts=role, concept=concept).value for role in ("neighbour", "rest")]
        if math.isnan(by_name):
            return Estimate(math.nan)
        count += by_name >= erased and min(others) >= kept
    return Estimate(count)
