"""How likely pictures of a concept stay under edited models, with its words and without."""

import pandas as pd

from palimpsest.report.erased import NETWORKS, comparable, rows_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table
from palimpsest.var.names import name_of

MEASUREMENTS = ("likelihood",)
PARAMS = {"models": None, "methods": None, "oracles": None, "likelihood": None}

SETS = {"drawn": ("concept", "others"), "real": ("real_concept", "real")}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: networks and methods; for drawn and for real pictures the loss by caption, and what words add."""
    rows = []
    for model in params["models"]:
        for method in rows_of(params, model):
            here = lookup.of(model=model, method=method, concept=comparable(params, model))
            cells = {("", "Row"): name_of(method)}
            for title, (key, others) in SETS.items():
                cells |= {
                    (title, how): here.get("picture_loss", set=key, caption=how) for how in ("own", "neutral", "empty")
                }
                cells[title, "others"] = here.get("picture_loss", set=others, caption="own")
                cells[title, "words"] = here.get("words_add", set=key)
                cells[title, "forgotten"] = here.get("forgotten", set=key)
                if key == "real_concept" and "completed" in params["likelihood"]:
                    cells[title, "completed"] = here.get("completed", set=key, caption="own")
            rows.append(cells)
    frame = pd.DataFrame(rows)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    plain = {name: Format(3, interval=False) for name in ("own", "neutral", "empty", "others")}
    return Table(
        frame,
        caption="Likelihood of pictures under edited models, as the loss of a symbol (nats): of the concept’s pictures "
        "with their own caption, the same without the concept, and none; of others with their own. Words: what the "
        "concept’s words take from the loss; forgotten: by how much it is higher than under the pretrained model. "
        "Completed: pictures (%) that show the concept where the model was given a real one’s first scales and its "
        "caption.",
        label="tab:var-likelihood",
        formats=plain | {"words": Format(3, interval=False), "forgotten": Format(3), "completed": Format(0, "percent")},
        wide=True,
        compared=[row["", "Row"] not in map(name_of, NETWORKS) for row in rows],
        notes=f"{together(params)}, {params['likelihood']['count']} pictures of each set and concept at most; each "
        "edited model is asked of its own concept. Intervals are 95 % (t; Wilson’s of shares), over pictures.",
    )


def together(params: dict) -> str:
    """Which concepts the rows are of."""
    oracles = [name for model in params["models"] for name in params["oracles"][model]]
    return f"The concepts that there is an oracle of ({', '.join(oracles)})" if oracles else "All concepts together"
