"""Many memories of one picture: seeds of latents that decode to it, and of its own latents with noise."""

import pandas as pd

from palimpsest.memory.names import name_of
from palimpsest.memory.tables._rows import OK, SHARE, described, group_of, rows_together
from palimpsest.report.erased import beside_oracles
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("audit", "decoded")
PARAMS = {"models": None, "methods": None, "oracles": None, "inversion": None, "images": None}

KINDS = ("distant", "adjacent")


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: models; columns: of both kinds of latents, how far apart the seeds are and what they give back."""
    rows, decoded = [], {}
    for model in params["models"]:
        for kind in KINDS:
            found = lookup.rows("decoded_psnr", model=model, kind=kind)
            decoded[kind] = found["value"].mean()
        for method, title, here in rows_together(lookup, params, model):
            cells = {("", "group"): group_of(method), ("", "Model"): title}
            for kind in KINDS:
                own = here.of(kind=kind)
                cells |= {
                    (name_of(kind), "ok"): own.get("seeds_converged"),
                    (name_of(kind), "cosine"): own.get("seeds_cosine"),
                    (name_of(kind), "of own"): own.get("seeds_cosine_to_own"),
                    (name_of(kind), "to own"): own.get("seeds_distance"),
                    (name_of(kind), "CV"): own.get("seeds_variation"),
                    (name_of(kind), "z"): own.get("seeds_z"),
                    (name_of(kind), "d_N"): own.get("seeds_w1_ratio"),
                    (name_of(kind), "PSNR"): own.get("seeds_psnr"),
                }
            cells |= {
                ("again", "ok"): here.get("seeds_converged", kind="reencoded"),
                ("again", "moved"): here.get("seeds_moved_by_reencoding"),
            }
            rows.append(cells)
    frame = pd.DataFrame(rows)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    shape, own = params["images"], lookup.rows("seeds_converged", kind="own")["value"].min()
    return Table(
        frame,
        caption="Many memories of one picture: seeds of latents that were sought in the decoder from other pictures "
        "(distant), and of the picture’s own latents with as much noise (adjacent).",
        label="tab:memory-images",
        formats={
            "ok": SHARE,
            "cosine": Format(2),
            "of own": Format(2, interval=False),
            "to own": Format(1, interval=False),
            "CV": Format(2, "number", interval=False),
            "z": Format(1, interval=False),
            "d_N": Format(1, interval=False),
            "PSNR": Format(1, interval=False),
            "moved": Format(1, interval=False),
        },
        group="group",
        wide=True,
        notes="Cosine: mean distance of pairs of seeds of one picture; of own: the same to the seed of its own "
        "latents; to own: mean Euclidean distance to that, CV: its coefficient of variation; z, d_N: as in the audit’s "
        "table, d_N over the same R; PSNR (dB): of what the seeds give back; again: how far the distant "
        "ones’ seeds move when the latents are decoded and encoded again first, as the release does. "
        f"{OK} Of the pictures’ own latents these are {100 * own:.0f} % at least; a picture without such a seed has no "
        "distances. "
        f"{shape['queries']} pictures of each concept, {shape['supports']} starts for each; "
        f"the latents decode at {decoded['distant']:.0f} (distant) and {decoded['adjacent']:.0f} dB (adjacent); 95 % "
        f"bootstrap over pictures. {beside_oracles(params)}{described(params['inversion'])}",
    )
