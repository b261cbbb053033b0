"""What attacks bring back of an erased concept, beside what they reach with networks that know less, and more."""

import pandas as pd

from palimpsest.erasure.tables._rows import rows_of, title_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("attacks",)
PARAMS = {"models": None, "methods": None, "oracles": None, "attacks": None, "studies": ["comparison"]}

ATTACKS = {"none": "None", "searched": "Words", "inverted": "Inverted", "noised": "Noised", "completed": "Completed"}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: networks and methods; columns: attacks, all concepts together."""
    rows, concepts = [], params["studies"]["comparison"]["concepts"]
    for model in params["models"]:
        for method in rows_of(params, model):
            cells = {"Row": title_of(method, params["oracles"][model])}
            for attack, title in ATTACKS.items():
                cells[title] = lookup.get("recovered", model=model, method=method, concept="all", attack=attack)
            rows.append(cells)
    settings = params["attacks"]
    return Table(
        pd.DataFrame(rows),
        caption="Attacks on erased models: pictures (%) that show the concept again. None: prompts that name it. "
        "Words: with words before them that a search found. Inverted: a word learned from pictures, in prompts without the "
        "concept. Noised: pictures of it noised and drawn on. Completed: half of a picture of it drawn anew.",
        label="tab:erasure-attacks",
        formats=dict.fromkeys(ATTACKS.values(), Format(0, "percent")),
        wide=True,
        compared=[False] * len(rows),
        notes=f"Of each of {len(concepts)} concepts {settings['pictures']} pictures; the search finds "
        f"{settings['words']} words over the whole vocabulary without the concept’s. Intervals are Wilson’s over "
        "pictures. An attack on a network that never saw the concept is its floor: the last two may show what the "
        "attacker’s picture shows already.",
    )
