"""Solvers: what the same pictures' inversions cost, and how far each moves their seeds."""

import numpy as np
import pandas as pd

from palimpsest.memory.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("solvers",)
PARAMS = {"models": None, "solvers": None}

RENOISE = (
    "Of ReNoise the source takes 50 steps, and regularises the noise below t = 250, which is left out here; else it is "
    "as the source configures it."
)


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: the reference, with guidance, from a clean end, in bfloat16; then the solvers at their settings."""
    settings, rows = params["solvers"], []
    reference = {**settings["reference"], "guidance": "1", "start": "released", "precision": "float32"}
    ways = [reference, *({**reference, "guidance": f"{scale:g}"} for scale in settings["guidances"])]
    ways.append({**reference, "start": "clean"})
    ways += [{**reference, "precision": "bfloat16"}] if "bfloat16" in settings else []
    ways += [
        {**reference, "solver": name, "steps": steps, "iterations": iterations}
        for name, grid in settings["solvers"].items()
        for steps in grid["steps"]
        for iterations in grid["iterations"]
    ]
    for model in params["models"]:
        for place, way in enumerate(way for number, way in enumerate(ways) if way not in ways[:number]):
            here = lookup.of(model=model, **way)
            rows.append(
                {
                    "group": "reference" if place == 0 else "the reference otherwise" if is_other(way) else "solvers",
                    "Solver": called(way),
                    "Steps": str(way["steps"]),
                    "It.": str(way["iterations"]),
                    "Evals": here.get("solver_evaluations"),
                    "Residual": here.get("solver_residual"),
                    "worst": here.get("solver_residual_largest"),
                    "ok": here.get("solver_converged"),
                    "Round trip": here.get("solver_round_trip"),
                    "PSNR": here.get("solver_psnr"),
                    "z": here.get("solver_z"),
                    "ΔNLL": here.get("solver_nll_shift"),
                }
            )
    ceiling = lookup.row("solver_ceiling", model=params["models"][0])
    return Table(
        pd.DataFrame(rows),
        caption="What the solver alone does: the same pictures inverted under the same network.",
        label="tab:memory-solvers",
        formats={
            "Evals": Format(0, interval=False),
            "Residual": Format(5, interval=False),
            "worst": Format(5, interval=False),
            "ok": Format(0, "percent", interval=False),
            "Round trip": Format(4, interval=False),
            "PSNR": Format(1, interval=False),
            "z": Format(2),
            "ΔNLL": Format(1),
        },
        group="group",
        notes="It.: iterations of each step after the first; Evals: evaluations of the network for a picture, two each "
        "with guidance; Residual: the largest of any step, verified by an evaluation more, median and worst picture "
        "(of Heun’s method the distance to the other sampler’s step; of bfloat16 by one in float32); "
        f"ok: pictures (%) with one of at most {np.format_float_positional(settings['tolerance'])}; the other columns "
        "are of all pictures; Round trip: of the latents (rms); PSNR (dB) of the pictures, of which the autoencoder "
        f"alone leaves {ceiling['value']:.1f}; ΔNLL: of the seeds, in nats, less the reference’s of the same pictures. "
        f"{ceiling['n']} pictures, of E and of R of each concept, under their own captions; 95 % t intervals over "
        f"pictures. {RENOISE if 'renoise' in settings['solvers'] else ''}".strip(),
    )


def is_other(way: dict) -> bool:
    """Whether a way is the reference with guidance, from a clean end, or in another precision."""
    return way["guidance"] != "1" or way["start"] != "released" or way["precision"] != "float32"


def called(way: dict) -> str:
    """How a row is called."""
    guidance = f", guidance {way['guidance']}" if way["guidance"] != "1" else ""
    start = f", {name_of(way['start'])}" if way["start"] != "released" else ""
    precision = f", {way['precision']}" if way["precision"] != "float32" else ""
    return f"{name_of(way['solver'])}{guidance}{start}{precision}"
