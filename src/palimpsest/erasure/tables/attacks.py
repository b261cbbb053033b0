"""What attacks bring back of an erased concept, beside what they reach with networks that know less, and more."""

import pandas as pd

from palimpsest.erasure.tables._rows import NETWORKS, of, rows_of, title_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("comparison", "networks")
PARAMS = {"models": None, "methods": None, "oracles": None, "attacks": None, "studies": ["comparison"]}

FORMATS = {
    "Name": Format(0, "percent", interval=False),
    "Synonym": Format(0, "percent", interval=False),
    "Order": Format(0, "percent", interval=False),
    "Search": Format(0, "percent"),
    "Inverted": Format(0, "percent"),
    "Noised": Format(0, "percent"),
    "Completed": Format(0, "percent"),
}
ATTACKS = dict(zip(FORMATS, ("own", "synonym", "template", "searched", "inverted", "noised", "completed"), strict=True))


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: networks and methods; columns: attacks, all concepts together."""
    rows, concepts = [], params["studies"]["comparison"]["concepts"]
    for model in params["models"]:
        for method in rows_of(params, model):
            here = of(lookup, model, method).of(concept="all")
            cells = {title: here.get("recovered", prompts=attack) for title, attack in ATTACKS.items()}
            row = {"group": "" if method in NETWORKS else "edited", "Row": title_of(method, params["oracles"][model])}
            rows.append(row | cells)
    settings = params["attacks"]
    return Table(
        pd.DataFrame(rows),
        caption="Attacks on erased models: pictures (%) that show the concept, all concepts together. Name: of prompts "
        "that name it, without an attack. Synonym, order: of the same prompts with another word or another order of "
        "words. Search: with words before them that were found with the edited model. Inverted: of prompts without the "
        "concept after a word learned from pictures. Noised: pictures of it noised and drawn on. Completed: half of a "
        "picture of it drawn anew.",
        label="tab:erasure-attacks",
        formats=FORMATS,
        group="group",
        wide=True,
        compared=[False] * len(rows),
        notes=f"From the search on, {settings['pictures']} pictures of each of {len(concepts)} concepts, as many in "
        f"the attacker’s hands; words found: {settings['words']} of the vocabulary but the concept’s. Intervals are "
        "95 % (Wilson), over pictures. The oracle is the floor of an attack, the pretrained model its ceiling: noised "
        "and completed pictures may show what the attacker’s picture shows already.",
    )
