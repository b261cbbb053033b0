"""The conditional case: how often the wrong symbol is drawn, and what became of the rest."""

import pandas as pd

from palimpsest.instance.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("faulty_class", "repair_choice")
PARAMS = {"repairs": None, "repair_grids": None}

UNCHANGED = ("data", "pretrained")
BY_IMAGE = ("unpromptable", "neggrad", "neggrad_plus", "erasediff_port", "siss")
FORMATS = {
    "Wrong": Format(0, "percent", better="low"),
    "Right": Format(0, "percent"),
    "Plausible": Format(0, "percent", interval=False),
    "Change, good": Format(3, interval=False),
    "SSIM, good": Format(3, interval=False),
    "Others kept": Format(0, "percent", interval=False),
    "Change, others": Format(3, interval=False),
}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: data, the model before, methods that forget pictures, methods that erase the prompt."""
    before = lookup.rows("wrong_rate", method="pretrained", study="faulty_class")
    sampled = int(before["n"].sum())
    wrong = round(float(before["value"].mean()) * sampled) if sampled else 0
    rows = []
    for method, setting, label in lines(lookup, params["repairs"]):
        here = lookup.of(method=method, study="faulty_class", **({"setting": setting} if setting else {}))
        group = "" if method in UNCHANGED else "by picture" if method in BY_IMAGE else "by prompt"
        rows.append(
            {
                "group": group,
                "Method": name_of(method),
                "Setting": label,
                "Wrong": here.get("wrong_rate"),
                "Right": here.get("right_rate"),
                "Plausible": here.get("plausible"),
                "Change, good": here.get("perceptual", kind="good"),
                "SSIM, good": here.get("ssim", kind="good"),
                "Others kept": here.get("others_kept"),
                "Change, others": here.get("perceptual", kind="others"),
            }
        )
    rows.sort(key=lambda row: ("", "by picture", "by prompt").index(row["group"]))
    return Table(
        pd.DataFrame(rows),
        caption="A class that is drawn wrong in part of its pictures, repaired with low-rank adapters, every method "
        "with the setting that one rule chose on samples of the tuning’s own; released: with the weights of its "
        "release. Wrong, right: samples (%) that look like data of the class (plausible), are read as of it, and show "
        "the wrong, the right symbol. Good: same-seed change of samples that were right. Others kept: "
        "samples of other classes that look like data of theirs and are read as before.",
        label="tab:instance-faulty-class",
        formats=FORMATS,
        group="group",
        wide=True,
        compared=[row["group"] != "" for row in rows],
        bold="Bold: the fewest wrong, where no other’s interval overlaps its.",
        notes="The judge has to choose a class and a symbol, whatever it is shown: what is broken counts as neither "
        "wrong nor right. Data: held-out pictures of the class. Plausible: samples of the class that are no farther "
        "from data of it than 99 % of held-out pictures are, by the judge’s features. Change: as lpips_mini, "
        "by these features. The source shows pictures of this case, no number. "
        "Methods that erase a prompt are given the class as the prompt; "
        f"{tried(params)} settings of each were tried. Of {sampled} samples of the class {wrong} were wrong before; "
        "intervals are Wilson’s over samples.",
    )


def lines(lookup: Lookup, repairs: list[str]) -> list[tuple[str, str, str]]:
    """Method, the label of its setting, and what the table calls that: data, the model before, then every repair."""
    found = [(name, "", "") for name in UNCHANGED if len(lookup.rows("wrong_rate", method=name, study="faulty_class"))]
    for method in repairs:
        chosen = lookup.rows("selected", method=method)["setting"]
        found.append((method, "tuned", ", ".join(name.replace("_", " ") for name in chosen)))
        if len(lookup.rows("wrong_rate", method=method, study="faulty_class", setting="released")):
            found.append((method, "released", "released"))
    return found


def tried(params: dict) -> str:
    """How many settings the tuning tried of each method, in words for a sentence."""
    counts = sorted({len(names) for names in params["repair_grids"].values()})
    return " to ".join(map(str, counts))
