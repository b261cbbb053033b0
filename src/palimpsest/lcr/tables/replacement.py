"""Every rule inside the detected region: what is left of the concept, and what the rest of the picture paid."""

import pandas as pd

from palimpsest.lcr.names import name_of
from palimpsest.lcr.tables._rows import measured_on
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Estimate, Format, Table

MEASUREMENTS = ("reconstruction", "grid")
PARAMS = {"models": None, "rules": None, "sets": ["forget_test"]}
# Photographs have no true twins, and no classifier that gives lpips_mini.
OPTIONAL = ("twin_lpips_mini", "lpips_mini_outside")

FORMATS = {
    "Found": Format(1, "percent", better="low"),
    "p": Format(kind="p", interval=False),
    "To twin": Format(4, better="low"),
    "Outside": Format(4, interval=False),
    "PSNR": Format(1, interval=False),
    "SSIM": Format(3, interval=False),
    "New": Format(1, "percent", interval=False),
    "Cells": Format(1, "percent", interval=False),
}
METRICS = {
    "Found": "detection_rate",
    "To twin": "twin_lpips_mini",
    "Outside": "lpips_mini_outside",
    "PSNR": "psnr_outside",
    "SSIM": "ssim_outside",
    "New": "new_detections",
    "Cells": "cells_changed",
}
REFERENCES = ("original", "reconstruction", "twin_original")


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: references, then params["rules"] with scope `mask` and cells `all`; a block of rows per model."""
    rows = []
    for model in params["models"]:
        here = lookup.of(model=model, set=params["sets"]["forget_test"])
        for method in REFERENCES:
            rows.append(line(here, model, method, {"scope": "", "cells": ""}))
        for method in params["rules"]:
            rows.append(line(here, model, method, {"scope": "mask", "cells": "all", "top": ""}))
    frame = pd.DataFrame(rows, columns=["model", "Rule", *FORMATS])
    measured = measured_on(lookup, "detection_rate", set=params["sets"]["forget_test"], method="reconstruction")
    best_among = frame["Rule"].isin([name_of(method) for method in params["rules"] if method != "twin"])
    return Table(
        frame,
        caption=f"Localised replacement of every cell in the mask, by rule ({measured}). Found: share of images in "
        "which the held-out judge still finds the concept (Wilson interval). p: exact McNemar test against the plain "
        "reconstruction, largest over seeds. To twin: lpips_mini to the true picture without the concept; an edit "
        "above the plain reconstruction leads farther from it than no edit. Outside: lpips_mini, PSNR (dB; ∞: equal "
        "pictures) and SSIM outside the mask, against the reconstruction. New: images with a find where neither the "
        "mask nor the reconstruction has one. Cells: share of cells whose code changed (– for edits of pixels).",
        label="tab:lcr-replacement",
        formats=FORMATS,
        group="model",
        wide=True,
        compared=best_among.tolist(),
        bold="Bold: the lowest of the rules but the oracle, where no other’s interval overlaps its.",
        notes="Measured on the procedural world; lpips_mini is a distance of features trained here and is not LPIPS. "
        "The source publishes no detection rate, LPIPS, PSNR or SSIM: all its replacement results are single pictures.",
    )


def line(here: Lookup, model: str, method: str, labels: dict[str, str]) -> tuple:
    """One row of the table."""
    cells = {column: here.get(metric, method=method, **labels) for column, metric in METRICS.items()}
    p = here.rows("mcnemar_p", method=method, **labels)
    cells["p"] = Estimate(p["largest"].max() if method not in REFERENCES else float("nan"))
    return name_of(model), name_of(method), *(cells[column] for column in FORMATS)
