"""Seeds of forgotten faces: where they lie under the models that forgot them, among faces that no model has seen."""

import pandas as pd

from palimpsest.memory.names import name_of
from palimpsest.memory.tables._rows import IGNORANT, NETWORKS, group_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Estimate, Format, Table

MEASUREMENTS = ("crossed",)
PARAMS = {"crossed_methods": None, "crossed": None}

EDITED = "edited"
NOTHING = Estimate(float("nan"))
FORMATS = {
    "target": Format(1, interval=False),
    "near": Format(1, interval=False),
    "others": Format(1, interval=False),
    "AUC": Format(2, interval=False),
    "shift": Format(2),
    "shift, near": Format(2, interval=False),
    "over oracle": Format(2, interval=False),
    "rank": Format(2, interval=False),
    "of target": Format(2, interval=False),
    "of others": Format(2, interval=False),
    "PSNR": Format(0, interval=False),
    "targets": Format(0, "percent", interval=False),
    "held-out": Format(0, "percent", interval=False),
}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: networks that nothing was erased from, networks that know nothing, the methods and all of them."""
    rows = []
    for method in (*NETWORKS, *IGNORANT, *params["crossed_methods"], EDITED):
        here = lookup.of(method=method, concept="all")
        own, near, others = (here.of(set=name) for name in ("target", "near", "reference"))
        moved = method != "pretrained"
        rows.append(
            {
                ("", "group"): group_of(method),
                ("", "Model"): name_of(method),
                ("z of seeds", "target"): own.get("crossed_z"),
                ("z of seeds", "near"): near.get("crossed_z"),
                ("z of seeds", "others"): others.get("crossed_z"),
                ("z of seeds", "AUC"): own.get("crossed_auc"),
                ("beyond others", "shift"): own.get("crossed_z_shift") if moved else NOTHING,
                ("beyond others", "shift, near"): near.get("crossed_z_shift") if moved else NOTHING,
                ("beyond others", "over oracle"): own.get("crossed_z_over_oracle"),
                ("beyond others", "rank"): own.get("crossed_shift_auc") if moved else NOTHING,
                ("moved", "of target"): own.get("crossed_distance") if moved else NOTHING,
                ("moved", "of others"): others.get("crossed_distance") if moved else NOTHING,
                ("", "PSNR"): own.get("crossed_psnr"),
                ("ok", "targets"): own.get("crossed_converged"),
                ("ok", "held-out"): others.get("crossed_converged"),
            }
        )
    frame = pd.DataFrame(rows)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    shape = params["crossed"]
    return Table(
        frame,
        caption="The audit of face models that forgot single pictures: their seeds, those of the same pictures with "
        "noise (near), and those of held-out faces (others).",
        label="tab:memory-crossed",
        formats=FORMATS,
        group="group",
        wide=True,
        notes="z: the NLL of a seed about the mean of that of N(0, I), in its standard deviations; AUC: the chance "
        "that a target’s seed is less likely than another’s; shift: of z against the pretrained model, over oracle: of "
        "z against the oracle, each less that of the others; rank: the chance that a target’s z has grown by more than "
        "another’s; moved: how far seeds are from those under the pretrained model, 1 for two draws of N(0, I). PSNR "
        "(dB) of what the targets’ seeds give back; ok: inversions within the tolerance in all steps but "
        "the first (%), which is stiff and whose error shows in the PSNR: all else is of these alone. "
        f"{shape['count']} others, "
        f"{shape['neighbours']} near pictures of each target at {shape['level']:g} dB; {name_of(shape['solver'])}, "
        f"{shape['steps']} steps. 95 % t intervals over targets; of all methods together over methods.",
    )
