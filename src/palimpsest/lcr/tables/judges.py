"""The judges' error rates on held-out scenes."""

import pandas as pd

from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("judges",)

COLUMNS = {
    "Recall": "recall",
    "False positives": "false_positive_rate",
    "Box IoU": "box_iou",
    "Object": "object_accuracy",
    "Colour": "colour_accuracy",
    "Style": "style_accuracy",
    "Background": "background_accuracy",
}


def build(lookup: Lookup, params: dict) -> Table:
    """One row per network that judges or makes masks, as measured."""
    judges = lookup.table[(lookup.table["family"] == "judges") & lookup.table["metric"].isin(COLUMNS.values())]
    rows = []
    for name in sorted(judges["model"].unique()):
        here = lookup.of(family="judges", model=name)
        rows.append((name.replace("_", " "), *(here.get(metric) for metric in COLUMNS.values())))
    return Table(
        pd.DataFrame(rows, columns=["Network", *COLUMNS]),
        caption="Judges on held-out scenes, with Wilson intervals. The networks that score share neither pictures, "
        "seed nor architecture with those that make masks or guide a training.",
        label="tab:lcr-judges",
        formats={name: Format(1, "percent") for name in COLUMNS} | {"Box IoU": Format(2, interval=False)},
        wide=True,
    )
