"""What a model remembers beyond its oracle, which never saw the concept."""

import pandas as pd

from palimpsest.memory.names import name_of
from palimpsest.memory.tables._rows import DEFINED, SHARE, described, group_of, rows_of
from palimpsest.report.erased import comparable
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Estimate, Format, Table

MEASUREMENTS = ("compared",)
PARAMS = {"models": None, "methods": None, "oracles": None, "inversion": None}

USUAL = 1.96  # 95 % of N(0, I): by how much an edit may move the seeds of R, as the claim more_than_oracle has it


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: models; columns: the excess, and what is remembered, of the concepts that there is an oracle of.

    Of these together, then of each; without an oracle the excess of all concepts.
    """
    rows = []
    for model in params["models"]:
        known = params["oracles"][model]
        together = ", ".join(map(name_of, known)) or "all concepts"
        for method in rows_of(params, model):
            here = lookup.of(model=model, method=method)
            pooled = here.of(concept=comparable(params, model))
            cells = {("", "group"): group_of(method), ("", "Model"): name_of(method)}
            cells |= {(together, "ok"): pooled.get("compared")}
            cells |= {(together, "R"): pooled.get("reference_shift")}
            cells |= {(together, "excess"): pooled.get("excess"), (together, "shift"): pooled.get("shift")}
            if known:
                cells |= {(together, head): cell for head, cell in beyond(pooled).items()}
                cells |= {(together, "PSNR"): pooled.get("psnr_over_oracle")}
            for concept in known if len(known) > 1 else ():
                own = here.of(concept=concept)
                found = {"ok": own.get("compared"), "R": own.get("reference_shift"), **beyond(own)}
                cells |= {(name_of(concept), head): cell for head, cell in found.items()}
            rows.append(cells)
    frame = pd.DataFrame(rows)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    return Table(
        frame,
        caption="Beyond the oracle: how much further out than other pictures’ the seeds of the concept’s pictures lie, "
        "and how much less so than in a network that never saw the concept. A model that has moved the seeds of the "
        "other pictures too is not testable.",
        label="tab:memory-verdict",
        formats={
            "ok": SHARE,
            "R": Format(1, interval=False),
            "excess": Format(2, interval=False),
            "shift": Format(2, interval=False),
            "remembered": Format(2),
            "PSNR": Format(1, interval=False),
        },
        group="group",
        wide=True,
        notes="R: mean z of R minus the pretrained model’s; excess: mean z of E minus that of R; shift: excess minus "
        "the pretrained model’s; remembered: the oracle’s excess minus the model’s, so that a perfect erasure has 0; "
        "memory: its interval lies above 0; pushed out: below; not testable: R has moved by "
        f"{USUAL} or more, as in a network that knows nothing, so that the excess says nothing of the concept. "
        "PSNR: over the oracle’s (dB). All differences are of the same pictures, those whose seeds were found in all "
        f"models of a difference (ok: of all, %); 95 % bootstrap over pictures. {DEFINED} "
        f"{described(params['inversion'])}",
    )


def beyond(here: Lookup) -> dict[str, Estimate | str]:
    """What is remembered beyond the oracle, and the verdict."""
    found = here.get("remembered")
    return {"remembered": found, "verdict": verdict(found, here.get("reference_shift"))}


def verdict(found: Estimate, moved: Estimate) -> str:
    """What an interval of what is remembered says; moved: how far the seeds of R have, if USUAL it says nothing."""
    if found.low != found.low:
        return ""
    if not abs(moved.value) < USUAL:
        return "not testable"
    return "memory" if found.low > 0 else "pushed out" if found.high < 0 else "no difference"
