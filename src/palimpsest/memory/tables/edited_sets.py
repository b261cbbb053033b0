"""What edited models give back of pictures that were never theirs, and of the concept's under other captions."""

import pandas as pd

from palimpsest.memory.names import name_of
from palimpsest.memory.tables._rows import DEFINED, OK, SHARE, counted, described, group_of, rows_together
from palimpsest.report.erased import beside_oracles
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("audit",)
PARAMS = {"models": None, "methods": None, "oracles": None, "inversion": None, "cases": None}

CAPTIONS = ("own", "neutral", "empty")
SHORT = {"concept": "E", "neutral": "R"}
MAIN = (("own", "concept"), ("own", "neutral"))  # in the table of the audit already


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: models; columns: of each further set or caption of the edits' cases, ok, PSNR and z."""
    rows, cases = [], params["cases"]["edits"]
    asked = [(caption, name) for caption in CAPTIONS for name in cases.get(caption, []) if (caption, name) not in MAIN]
    for model in params["models"]:
        for method, title, found in rows_together(lookup, params, model):
            cells = {("", "group"): group_of(method), ("", "Model"): title}
            for caption, name in asked:
                here, head = found.of(set=name, caption=caption), headed(caption, name)
                cells |= {
                    (head, "ok"): here.get("converged"),
                    (head, "PSNR"): here.get("psnr"),
                    (head, "z"): here.get("z"),
                }
            rows.append(cells)
    frame = pd.DataFrame(rows)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    inverted = pd.concat([lookup.rows("converged", method="pretrained", caption=c, set=name) for c, name in asked])
    return Table(
        frame,
        caption="What edited models invert beside the concept’s pictures under own captions.",
        label="tab:memory-edited-sets",
        formats={"ok": SHARE, "PSNR": Format(1, interval=False), "z": Format(1)},
        group="group",
        wide=True,
        notes="Under own captions; unnamed: under the same without the concept. PSNR (dB): of what seeds give back. "
        f"{DEFINED} {OK} {counted(inverted)} pictures of each set and concept; 95 % bootstrap over pictures. "
        f"{beside_oracles(params)}{described(params['inversion'])}",
    )


def headed(caption: str, name: str) -> str:
    """What stands above the columns of a set under a caption."""
    if caption == "own":
        return name_of(f"set_{name}")
    return f"{SHORT.get(name) or name_of(f'set_{name}')}, {'unnamed' if caption == 'neutral' else 'no caption'}"
