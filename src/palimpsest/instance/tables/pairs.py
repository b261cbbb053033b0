"""Every method against Unpromptable, pair by pair of targets and seeds, and what so many pairs could find."""

import pandas as pd

from palimpsest.instance.names import name_of
from palimpsest.instance.tables._rows import basis, counts
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("comparison",)
PARAMS = {"models": None, "methods": None, "studies": ["comparison"], "evaluation": None}
SHOWN = {"S": "similarity_target", "Change": "perceptual", "SSIM": "ssim", "FD pre": "frechet_pretrained"}
# A study need not name the method that the others are compared with.
OPTIONAL = tuple(f"{kind}_{metric}" for kind in ("paired", "detectable") for metric in SHOWN.values())
FORMATS = {"Pairs": Format(0, interval=False), **dict.fromkeys(SHOWN, Format(2)), "Found": Format(2, interval=False)}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: every method but the one that all are compared with, for each number of targets."""
    rows = []
    for model in params["models"]:
        for count in counts(lookup, study="comparison", model=model):
            here = lookup.of(model=model, study="comparison", count=count)
            known = here.rows("paired_perceptual").set_index("method")["n"]
            for method in params["methods"]:
                if method in known:
                    found = {name: here.get(f"paired_{metric}", method=method) for name, metric in SHOWN.items()}
                    rows.append(
                        {
                            "group": "one target" if count == 1 else f"{count} targets in sequence",
                            "Method": name_of(method),
                            "Pairs": known[method],
                            **found,
                            "Found": here.get("detectable_perceptual", method=method),
                        }
                    )
    return Table(
        pd.DataFrame(rows, columns=["group", "Method", *FORMATS]),
        caption="Every method less Unpromptable, in pairs of equal targets and seeds: mean differences, with 95 % t "
        "intervals over pairs. Found: the difference of Change that so many pairs would find with a power of 80 %.",
        label="tab:instance-pairs",
        formats=FORMATS,
        group="group",
        wide=True,
        notes=f"Change above zero: the method changes same-seed samples more. {basis(params, 'comparison')}",
    )
