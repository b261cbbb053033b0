"""The same eight numbers for every method of every family."""

import pandas as pd

from palimpsest.remains.names import QUESTIONS, name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("compared",)
OPTIONAL = ("asked", "suppressed", "reminded", "returned", "attacked", "near", "rest", "change")
PARAMS = {"models": None, "methods": None, "kinds": None}

COLUMNS = {
    "Asked": ("asked", Format(2)),
    "Suppressed": ("suppressed", Format(2)),
    "Reminded": ("reminded", Format(2)),
    "Returned": ("returned", Format(2)),
    "Attacked": ("attacked", Format(2)),
    "Near": ("near", Format(2, interval=False)),
    "Rest": ("rest", Format(2, interval=False)),
    "Change": ("change", Format(3, interval=False)),
}


def build(lookup: Lookup, params: dict) -> Table:
    """A block of rows for each generator: the pretrained model, its oracle, the methods as its family lists them."""
    rows = []
    for model in params["models"]:
        here, kind = lookup.of(model=model), params["kinds"][model]
        for method in ("pretrained", "oracle", *params["methods"][model]):
            cells = {title: here.get(metric, method=method) for title, (metric, _) in COLUMNS.items()}
            group = f"{QUESTIONS[kind]}: {name_of(model, kind)}"
            rows.append({"group": group, "Method": name_of(method, kind), **cells})
    return Table(
        pd.DataFrame(rows),
        caption="What remains, by the same numbers for every method. Asked: how much of what was to be forgotten the "
        "model shows when it is asked for it. Suppressed: how far that has come from the pretrained model’s (0) "
        "to the oracle’s (1). Reminded: how much it shows when an attacker begins the picture. Returned: where "
        "that lies between the oracle’s (0) and the pretrained model’s (1). Attacked: what the family’s attacks "
        "get back beyond what they get from the oracle, their mean. Near, rest: what is kept of neighbours and of "
        "all else. Change: of pictures that should stay as they are.",
        label="tab:remains-methods",
        formats={title: style for title, (_, style) in COLUMNS.items()},
        group="group",
        long=True,
        size="scriptsize",
        compared=[False] * len(rows),
        notes="Codes: asked, the share of pictures in which the judge finds the concept; near, of what is read of the "
        "plain reconstruction, what is still read; rest, SSIM outside the region; their oracle takes the codes of "
        "the true twin, and they have no model that could be reminded. Single images: asked, the similarity of a "
        "target noised and denoised; reminded, from half the timestep; near and rest, one less what neighbours "
        "and strangers lost of theirs. Concepts: asked, the share of pictures of prompts that name the concept; "
        "reminded, of pictures begun with one of it (noised, or given the first scales); of the concepts that "
        "there is an oracle of, where there is one. Change: a perceptual distance. A dash: not measured, or what "
        "is measured does not tell the pretrained model from the oracle. Intervals are 95 %, those of shares of "
        "the way to first order.",
    )
