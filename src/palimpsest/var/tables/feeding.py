"""What has to be learned, by what the transformer is fed: loss, wrong symbols and kept tokens of the safe rollout."""

import pandas as pd

from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table
from palimpsest.var.names import name_of

MEASUREMENTS = ("feeding",)
PARAMS = {"models": None, "studies": ["comparison"]}

FED = ("safe_safe", "concept_safe", "concept_own", "concept_blank")
METRICS = {"loss": Format(2, better="low"), "wrong": Format(0, "percent"), "kept": Format(0, "percent")}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: inputs; for each concept the three metrics, all scales together."""
    rows = []
    for model in params["models"]:
        for fed in FED:
            cells = {("", "Fed"): name_of(fed)}
            for concept in params["studies"]["comparison"]["concepts"]:
                here = lookup.of(model=model, concept=concept, fed=fed, scale="all")
                cells |= {(name_of(concept), name): here.get(f"token_{name}") for name in METRICS}
            rows.append(cells)
    frame = pd.DataFrame(rows)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    return Table(
        frame,
        caption="What the pretrained model says of the safe rollout’s tokens, by what it is fed: loss of a symbol "
        "(nats), symbols (%) that have less than half of the probability, and tokens (%) that the filter keeps.",
        label="tab:var-feeding",
        formats={name: Format(shown.digits, shown.kind, interval=False) for name, shown in METRICS.items()},
        wide=True,
        compared=[False] * len(rows),
        notes="The mean of all tokens of all scales. The first row is the floor: what of the safe tokens is chance.",
    )
