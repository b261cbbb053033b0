"""Base models: what is left of the pictures before any edit, and what the codebooks look like."""

import pandas as pd

from palimpsest.lcr.names import name_of
from palimpsest.lcr.tables._rows import measured_on
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("model_card",)
PARAMS = {"models": None, "sets": ["calibration"]}

COUNT, SHARE = Format(0), Format(1, "percent")
# What a row says, its metric, its labels and its format.
ROWS = (
    ("Codes in the codebook", "codebook_size", {}, COUNT),
    ("Live codes (occur at all)", "live_codes", {}, COUNT),
    ("Perplexity of the code distribution", "perplexity", {}, COUNT),
    ("Mean distance of a code to its nearest", "codebook_nn_distance", {}, Format(2)),
    ("… of independent normal codes (null)", "codebook_nn_distance_null", {}, Format(2)),
    ("PSNR of reconstructions (dB)", "psnr", {}, Format(1)),
    ("SSIM of reconstructions", "ssim", {}, Format(3)),
    ("Object read in originals", "object_accuracy", {"on": "original"}, SHARE),
    ("Object read in reconstructions", "object_accuracy", {"on": "reconstruction"}, SHARE),
    ("Style read in originals", "style_accuracy", {"on": "original"}, SHARE),
    ("Style read in reconstructions", "style_accuracy", {"on": "reconstruction"}, SHARE),
    ("Emblem found in originals", "emblem_recall", {"on": "original"}, SHARE),
    ("Emblem found in reconstructions", "emblem_recall", {"on": "reconstruction"}, SHARE),
    ("False finds in originals", "emblem_false_positive_rate", {"on": "original"}, SHARE),
    ("False finds in reconstructions", "emblem_false_positive_rate", {"on": "reconstruction"}, SHARE),
)


def build(lookup: Lookup, params: dict) -> Table:
    """One column per model of params["models"], on the calibration set."""
    columns = {"Quantity": [text for text, *_ in ROWS]}
    usual = {"set": params["sets"]["calibration"], "method": ""}
    pictures = measured_on(lookup, "psnr", **usual)
    shown = measured_on(lookup, "emblem_recall", **usual)
    for model in params["models"]:
        here = lookup.of(model=model, **usual)
        columns[name_of(model)] = [here.get(metric, **labels) for _, metric, labels, _ in ROWS]
    return Table(
        pd.DataFrame(columns),
        caption=f"Base models of the procedural world ({pictures}; emblems: {shown}) and what the held-out judges "
        "read in their reconstructions, with 95 % intervals. PSNR: mean over pictures. An emblem that the "
        "reconstruction has lost already cannot be unlearned: the reconstruction, not the original, is the reference "
        "of every edit.",
        label="tab:lcr-models",
        widths={"Quantity": 0.36},
        formats=[style for *_, style in ROWS],
    )
