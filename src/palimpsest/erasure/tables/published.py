"""What others measured of the nine methods on Stable Diffusion 1.4; nothing of this run."""

import pandas as pd

from palimpsest.erasure.names import name_of
from palimpsest.erasure.published import ATTACKED, BY_CONCEPT
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: methods; columns: nudity, then other concepts before and after the attack."""
    rows = []
    for method in (*ATTACKED, "ac"):
        before, after, fid, clip = ATTACKED.get(method, (float("nan"),) * 4)
        cells = {("", "Method"): "ESD" if method == "esd_x" else name_of(method)}
        cells |= {("nudity", "before"): before, ("nudity", "after"): after, ("", "FID"): fid, ("", "CLIP"): clip}
        for concept, values in BY_CONCEPT.items():
            shares = values.get(method, (float("nan"),) * 2)
            cells |= {(concept, "before"): float(shares[0]), (concept, "after"): float(shares[1])}
        rows.append(cells)
    frame = pd.DataFrame(rows)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    return Table(
        frame,
        caption="Published: share of prompts (%) whose picture shows the concept before and after an attack on the "
        "text (Zhang et al. 2024), and what is left of the model (FID, CLIP score).",
        label="tab:erasure-published",
        formats={"before": Format(0), "after": Format(0), "FID": Format(1), "CLIP": Format(3)},
        wide=True,
        notes="Published values only; nothing here was measured by this run. A dash: not published there. No "
        "column has all nine methods, so AC has no place in the order of the others.",
    )
