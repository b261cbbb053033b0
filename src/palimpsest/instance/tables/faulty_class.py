"""The conditional case: how often the wrong symbol is drawn, and what became of the rest."""

import pandas as pd

from palimpsest.instance.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("faulty_class",)
PARAMS = {"repairs": None}

BY_IMAGE = ("unpromptable", "neggrad", "erasediff_port", "siss")
FORMATS = {
    "Wrong": Format(0, "percent", better="low"),
    "Right": Format(0, "percent"),
    "Class kept": Format(0, "percent", interval=False),
    "Change, good": Format(3, interval=False),
    "SSIM, good": Format(3, interval=False),
    "Others kept": Format(0, "percent", interval=False),
    "Change, others": Format(3, interval=False),
}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: the model before, methods that forget pictures, methods that erase the prompt."""
    before = lookup.rows("wrong_rate", method="pretrained", study="faulty_class")
    sampled = int(before["n"].sum())
    wrong = round(float(before["value"].mean()) * sampled) if sampled else 0
    rows = []
    for method in ("pretrained", *params["repairs"]):
        here = lookup.of(method=method, study="faulty_class")
        group = "" if method == "pretrained" else "by picture" if method in BY_IMAGE else "by prompt"
        rows.append(
            {
                "group": group,
                "Method": name_of(method),
                "Wrong": here.get("wrong_rate"),
                "Right": here.get("right_rate"),
                "Class kept": here.get("class_kept"),
                "Change, good": here.get("perceptual", kind="good"),
                "SSIM, good": here.get("ssim", kind="good"),
                "Others kept": here.get("others_kept"),
                "Change, others": here.get("perceptual", kind="others"),
            }
        )
    rows.sort(key=lambda row: ("", "by picture", "by prompt").index(row["group"]))
    return Table(
        pd.DataFrame(rows),
        caption="A class that is drawn wrong in part of its pictures, repaired with low-rank adapters. Wrong, right: "
        "samples (%) that are of the class and show the wrong, the right symbol. Class kept: those still of the class. "
        "Good: same-seed change of samples that were right. Others kept: samples of other classes that stayed as they "
        "were.",
        label="tab:instance-faulty-class",
        formats=FORMATS,
        group="group",
        wide=True,
        compared=[row["group"] != "" for row in rows],
        bold="Bold: the fewest wrong, where no other’s interval overlaps its.",
        notes="The judge has to choose a class and a symbol, and reads shapeless pictures as one too: what is right or "
        "kept need not look like a flag. Change: as lpips_mini, by the features of the judge of flags. The source "
        "shows pictures of this case, no number. Methods that erase a prompt are given the class as the prompt; every "
        f"method has one setting, untuned. Of {sampled} samples of the class {wrong} were wrong before; intervals are "
        "Wilson’s over samples.",
    )
