"""What the solver alone does to an audit: the same pictures, the same network, other solvers of the same steps.

Residuals are verified: of the latents that a step gives, by an evaluation that is not counted. Everything is compared
with one solver that has converged (the reference). Beside it stand the sampler's guidance, with which pictures are
drawn and the source does not invert, where the sampler is taken to end, and predictions in bfloat16, whose residuals
are those of the equation in float32.
"""

from typing import Literal, NamedTuple, TypedDict

import numpy as np
import pandas as pd
import torch

from palimpsest.memory import statistics
from palimpsest.memory.auditing import decibels, predictor
from palimpsest.memory.ddim import schedule_of
from palimpsest.memory.inversion import SAMPLERS, generate, invert
from palimpsest.memory.predictors import Precision
from palimpsest.memory.solvers import SOLVERS
from palimpsest.metrics.estimates import of_mean
from palimpsest.metrics.measurements import row, write
from palimpsest.models import autoencoder, text_diffusion
from palimpsest.options import Amount, Count, Positive, check
from palimpsest.run import Input, Output, UserError, step, torch_device

SETS = ("concept", "neutral")
# Where the sampler ends: at the share of its own configuration, or at 1, clean latents.
STARTS = ("released", "clean")
LABELS = ["solver", "steps", "iterations", "guidance", "start", "precision"]
PAIRED = ("nll", "z", "psnr")


class Grid(TypedDict):
    """How often a solver is run: every number of steps with every number of iterations."""

    steps: list[Positive]
    iterations: list[Count]


class Reference(TypedDict):
    """The solver that all are compared with."""

    solver: Literal["fixed_point", "anderson"]
    steps: Positive
    iterations: Positive


class Case(NamedTuple):
    """One way to invert."""

    solver: str
    steps: int
    iterations: int
    guidance: float = 1.0
    start: str = "released"
    precision: Precision = "float32"

    def labels(self) -> dict:
        return {**self._asdict(), "guidance": f"{self.guidance:g}"}


def solver_study(
    network: Input,
    images: Input,
    manifest: Input,
    curves: Output,
    measurements: Output,
    *,
    model: str,
    count: Positive,
    solvers: dict,
    reference: dict,
    guidances: list[Amount],
    tolerance: Amount,
    bfloat16: Amount | None = None,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """Invert `count` pictures of each concept and set (`memory.sets`) under their own captions, in every way.

    solvers: name to {"steps", "iterations"}, lists of which every combination is run; reference: {"solver", "steps",
    "iterations"} of what all are compared with, and what is run with each of the guidances, from a clean end, and in
    bfloat16 to a tolerance of its own, where one is given: its noise has a floor, at which a solver stops.
    curves: a row for each picture and way: evaluations, the largest verified residual, round trip of the latents (rms),
    psnr of the picture (dB) and ceiling, that of the autoencoder alone; nll and z of the seed.
    """
    cases = cases_of(solvers, reference, guidances, rounded=bfloat16 is not None)
    table = pd.read_parquet(manifest)
    part = table[table["set"].isin(SETS) & (table["picture"] < count)]
    shown = np.load(images, mmap_mode="r")[part.index]
    opened = text_diffusion.open_model(network, torch_device(device))
    # A copy: what is made in inference mode takes part in no gradient.
    latents = autoencoder.encode(opened.vae, shown)[0].clone().to(opened.alphas_cumprod.device)
    ceiling = decibels(shown, autoencoder.decode(opened.vae, latents))
    names = part[["concept", "set", "picture"]].reset_index(drop=True).assign(ceiling=ceiling)
    found = []
    for case in cases:
        enough = bfloat16 if case.precision == "bfloat16" else tolerance
        values = inverted_by(opened, case, latents, shown, list(part["own"]), enough)
        found.append(names.assign(**case.labels(), **values))
    rows = pd.concat(found, ignore_index=True)
    rows.to_parquet(curves, index=False)
    lines = measured(rows, Case(**reference), tolerance, seed)
    write(measurements, lines, family="memory", model=model, method="solvers", seed=seed)
    return {"cases": len(cases), "pictures": len(part)}


def cases_of(solvers: dict, reference: dict, guidances: list[float], rounded: bool = False) -> list[Case]:
    """Every way, the reference first; raises UserError for a solver that there is not, and for half a grid.

    rounded: the reference in bfloat16 too.
    """
    check(Reference, reference, "reference")
    for name, grid in solvers.items():
        if name not in SOLVERS:
            raise UserError(f"solvers: there is no solver {name!r}. Give one of {', '.join(SOLVERS)}")
        check(Grid, grid, f"solvers.{name}")
    first = Case(**reference)
    cases = [first, first._replace(start="clean"), *([first._replace(precision="bfloat16")] if rounded else [])]
    cases += [first._replace(guidance=float(guidance)) for guidance in guidances]
    cases += [
        Case(name, steps, iterations)
        for name, grid in solvers.items()
        for steps in grid["steps"]
        for iterations in grid["iterations"]
    ]
    return list(dict.fromkeys(cases))


def inverted_by(
    model: text_diffusion.TextDiffusion,
    case: Case,
    latents: torch.Tensor,
    shown: np.ndarray,
    prompts: list[str],
    tolerance: float,
) -> dict[str, np.ndarray]:
    """What one way measures of each picture (n,)."""
    predict = predictor(model, prompts, case.guidance, case.precision)
    exact = predict if case.precision == "float32" else predictor(model, prompts, case.guidance)
    told = schedule_of(text_diffusion.sampler_of(model, case.steps))
    told |= {"final_alpha": 1.0} if case.start == "clean" else {}
    settings = {"solver": case.solver, "iterations": case.iterations, "tolerance": tolerance}
    inversion = invert(predict, latents, **told, **settings, verify=exact)
    back = generate(predict, inversion.seeds, **told, sampler=SAMPLERS[case.solver])
    seeds = inversion.seeds.cpu().numpy()
    # With guidance an evaluation is one under the caption and one under none.
    return {
        "evaluations": inversion.evaluations.cpu().numpy() * (1 if case.guidance == 1 else 2),
        "residual": inversion.residuals.max(0).values.cpu().numpy(),
        "round_trip": (back - latents).flatten(1).square().mean(1).sqrt().cpu().numpy(),
        "psnr": decibels(shown, autoencoder.decode(model.vae, back)),
        "nll": statistics.nll(seeds),
        "z": statistics.z_score(seeds),
    }


def measured(rows: pd.DataFrame, reference: Case, tolerance: float, seed: int) -> list[dict]:
    """Of each way: medians and means over pictures, and the paired difference to the reference.

    solver_residual is the median, solver_residual_largest of the worst picture; a residual of Heun's, which solves no
    equation of the other sampler, says how far apart both are.
    """
    key = ["concept", "set", "picture"]
    way = reference.labels()
    usual = rows[(rows[LABELS] == pd.Series(way)).all(axis=1)].set_index(key)
    found = [row("solver_ceiling", *of_mean(usual["ceiling"].to_numpy()), n=len(usual))]
    for labels, part in rows.groupby(LABELS, sort=False):
        named = dict(zip(LABELS, labels, strict=True))
        middle = statistics.bootstrapped(part["residual"].to_numpy(), lambda given: np.median(given, -1), seed=seed)
        found.append(row("solver_residual", *middle, n=len(part), **named))
        found.append(row("solver_residual_largest", part["residual"].max(), n=len(part), **named))
        found.append(row("solver_converged", (part["residual"] <= tolerance).mean(), n=len(part), **named))
        for metric in ("evaluations", "round_trip", "psnr", "nll", "z"):
            found.append(row(f"solver_{metric}", *of_mean(part[metric].to_numpy()), n=len(part), **named))
        gaps = part.set_index(key)[list(PAIRED)] - usual[list(PAIRED)]
        for metric in PAIRED:
            found.append(row(f"solver_{metric}_shift", *of_mean(gaps[metric].to_numpy()), n=len(part), **named))
        sets = part.groupby("set")["nll"]
        found += [row("solver_nll_of", values.mean(), n=len(values), set=name, **named) for name, values in sets]
    return found


if __name__ == "__main__":
    step(solver_study)
