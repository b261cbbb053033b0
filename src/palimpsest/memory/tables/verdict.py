"""What a model remembers beyond its oracle, which never saw the concept."""

import pandas as pd

from palimpsest.memory.names import name_of
from palimpsest.memory.tables._rows import DEFINED, SHARE, described, group_of, rows_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Estimate, Format, Table

MEASUREMENTS = ("compared",)
PARAMS = {"models": None, "methods": None, "oracles": None, "inversion": None}

USUAL = 1.96  # 95 % of N(0, I)


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: models; columns: the excess of all concepts, then what is remembered of each concept with an oracle."""
    rows = []
    for model in params["models"]:
        known = params["oracles"][model]
        for method in rows_of(params, model):
            here = lookup.of(model=model, method=method)
            cells = {("", "group"): group_of(method), ("", "Model"): name_of(method)}
            cells |= {("all concepts", "ok"): here.get("compared", concept="all")}
            cells |= {("all concepts", "excess"): here.get("excess", concept="all")}
            cells |= {("all concepts", "shift"): here.get("shift", concept="all")}
            for concept in known:
                cells |= {(name_of(concept), "ok"): here.get("compared", concept=concept)}
                found = here.get("remembered", concept=concept)
                usual = here.get("reference_z", concept=concept)
                cells |= {(name_of(concept), "remembered"): found, (name_of(concept), "verdict"): verdict(found, usual)}
                cells |= {(name_of(concept), "PSNR"): here.get("psnr_over_oracle", concept=concept)}
            rows.append(cells)
    frame = pd.DataFrame(rows)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    return Table(
        frame,
        caption="Beyond the oracle: how much further out than other pictures’ the seeds of the concept’s pictures lie, "
        "and how much less so than in a network that never saw the concept.",
        label="tab:memory-verdict",
        formats={
            "ok": SHARE,
            "excess": Format(2),
            "shift": Format(2),
            "remembered": Format(2),
            "PSNR": Format(1, interval=False),
        },
        group="group",
        wide=True,
        notes="Excess: mean z of E minus that of R; shift: excess minus the pretrained model’s; remembered: the "
        "oracle’s excess minus the model’s, so that a perfect erasure has 0; memory: its interval lies above 0; pushed "
        "out: below; none: the seeds of R themselves lie outside 95 % of N(0, I), as in a network that knows nothing. "
        "PSNR: over the oracle’s (dB). All differences are of the same pictures, those whose seeds were found in all "
        f"models of a difference (ok: of all, %); 95 % bootstrap over pictures. {DEFINED} "
        f"{described(params['inversion'])}",
    )


def verdict(found: Estimate, usual: Estimate) -> str:
    """What an interval of what is remembered says; usual: the mean z of R, outside which nothing is said."""
    if found.low != found.low:
        return ""
    if abs(usual.value) > USUAL:
        return "none: R is off"
    return "memory" if found.low > 0 else "pushed out" if found.high < 0 else "no difference"
