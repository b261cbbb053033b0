"""What edited models give back of pictures that were never theirs: photographs or scenes, and scrambled pictures."""

import pandas as pd

from palimpsest.memory.names import name_of
from palimpsest.memory.tables._rows import OK, SHARE, counted, described, group_of, rows_together
from palimpsest.report.erased import beside_oracles
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("audit",)
PARAMS = {"models": None, "methods": None, "oracles": None, "inversion": None, "cases": None}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: models; columns: of each set that edits are asked for under own captions, PSNR and z."""
    rows, sets = [], params["cases"]["edits"]["own"]
    for model in params["models"]:
        for method, title, found in rows_together(lookup, params, model):
            cells = {("", "group"): group_of(method), ("", "Model"): title}
            for name in sets:
                here = found.of(set=name, caption="own")
                cells |= {
                    (name_of(f"set_{name}"), "ok"): here.get("converged"),
                    (name_of(f"set_{name}"), "PSNR"): here.get("psnr"),
                    (name_of(f"set_{name}"), "z"): here.get("z"),
                }
            rows.append(cells)
    frame = pd.DataFrame(rows)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    inverted = lookup.rows("converged", method="pretrained", caption="own")
    return Table(
        frame,
        caption="What edited models invert beside the pictures of their concept: real and scrambled ones.",
        label="tab:memory-edited-sets",
        formats={"ok": SHARE, "PSNR": Format(1, interval=False), "z": Format(1)},
        group="group",
        wide=True,
        notes="Under own captions. PSNR (dB): of what the seeds give back; z: the NLL of seeds about the mean of "
        f"N(0, I), in its standard deviations. {OK} {counted(inverted[inverted['set'].isin(sets)])} pictures of each "
        f"set and concept; 95 % bootstrap over pictures. {beside_oracles(params)}{described(params['inversion'])}",
    )
