"""The audit by inversion where everything is known: a Gaussian mixture, models that know it, and models that do not.

Pictures of one component are the concept (erased), those of some others the reference. Audited are the perfect model
(vanilla), the perfect model of the other components (oracle: perfect erasure), and three that have seen no data (zero,
white, random). What the last three reach is no evidence of memory.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.memory import mixture as mixtures
from palimpsest.memory import statistics
from palimpsest.memory.ddim import Predict
from palimpsest.memory.inversion import generate, invert
from palimpsest.metrics.intervals import t_interval
from palimpsest.metrics.measurements import row as measurement
from palimpsest.metrics.measurements import write
from palimpsest.models.forward_process import drawn_noise
from palimpsest.options import Amount, Positive
from palimpsest.run import Output, UserError, step

SHAPE = (3, 8, 8)
DIMENSIONS = 192
RANK = 6
ERASED, REFERENCES = 0, (1, 2, 3, 4)
TRAINED = 1000  # timesteps of Stable Diffusion's schedule
PEAK = 2.0  # pictures are about [-1, 1], as networks have them
STARTS = ("released", "matched", "clean")
KNOWING = ("vanilla", "oracle")
ADJACENT = ("vanilla", "oracle", "zero", "random")


class Settings(NamedTuple):
    """How one inverts."""

    solver: str
    iterations: int
    tolerance: float
    steps: int
    start: str

    def told(self) -> dict:
        """What `invert` and `generate` are told of the sampler."""
        shares = alphas_cumprod()
        return {
            "alphas_cumprod": shares,
            "timesteps": timesteps(self.steps),
            "final_alpha": 1.0 if self.start == "clean" else float(shares[0]),
        }

    def labels(self) -> dict[str, str]:
        return {"steps": str(self.steps), "start": self.start}


class Audit(NamedTuple):
    """Seeds (n, d) and what they give back (n, 3, 8, 8); of each picture (n,) the PSNR, the largest residual of any
    step, and the evaluations.
    """

    seeds: np.ndarray
    back: Tensor
    psnr: np.ndarray
    residuals: np.ndarray
    evaluations: np.ndarray


def alphas_cumprod() -> Tensor:
    """The shares of signal (1000,) of Stable Diffusion's schedule, float64."""
    return torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, TRAINED, dtype=torch.float64) ** 2, 0)


def timesteps(steps: int) -> list[int]:
    """Leading spacing with an offset of 1, as Stable Diffusion's, descending."""
    return [1 + TRAINED // steps * index for index in reversed(range(steps))]


def decibels(one: Tensor, other: Tensor) -> np.ndarray:
    """PSNR of pairs (n,)."""
    return (10 * torch.log10(PEAK**2 / (one - other).square().mean((1, 2, 3)))).numpy()


def draw_sets(mixture: mixtures.Mixture, pictures: int, seed: int) -> dict[str, Tensor]:
    """`pictures` of the concept and as many of the references, (n, 3, 8, 8) each, the references in turn."""
    rng = np.random.default_rng((seed, 2))
    erased = mixtures.draw(mixture, ERASED, pictures, rng)
    others = [mixtures.draw(mixture, REFERENCES[index % len(REFERENCES)], 1, rng) for index in range(pictures)]
    return {"erased": erased.view(-1, *SHAPE), "reference": torch.cat(others).view(-1, *SHAPE)}


def started(pictures: Tensor, start: str, seed: int) -> Tensor:
    """What is inverted: the pictures, or (matched) noised to the share at which the sampler ends."""
    if start != "matched":
        return pictures
    share = float(alphas_cumprod()[0])
    noise = drawn_noise(seed, np.arange(len(pictures)), SHAPE).double()
    return share**0.5 * pictures + (1 - share) ** 0.5 * noise


def audit(predict: Predict, pictures: Tensor, settings: Settings) -> Audit:
    """Invert pictures (n, 3, 8, 8) and draw them again."""
    inversion = invert(
        predict,
        pictures,
        **settings.told(),
        solver=settings.solver,
        iterations=settings.iterations,
        tolerance=settings.tolerance,
    )
    back = generate(predict, inversion.seeds, **settings.told())
    return Audit(
        inversion.seeds.flatten(1).numpy(),
        back,
        decibels(pictures, back),
        inversion.residuals.max(0).values.numpy(),
        inversion.evaluations.numpy(),
    )


def rows_of(found: Audit, names: dict[str, slice], seed: int, **labels) -> Iterator[dict]:
    """The measurements of one model under one setting; names: which rows of the audit are of which set."""
    for name, part in names.items():
        for metric, values in (("psnr", found.psnr), ("residual", found.residuals)):
            centre = statistics.bootstrapped(values[part], lambda given: np.median(given, -1), seed=seed)
            yield measurement(f"solvable_{metric}", *centre, n=len(values[part]), set=name, **labels)
        used = found.evaluations[part]
        yield measurement("solvable_evaluations", used.mean(), n=len(used), set=name, **labels)
    values = statistics.nll(found.seeds)
    erased, reference = values[names["erased"]], values[names["reference"]]
    for metric, estimate in statistics.compared(erased, reference, DIMENSIONS, seed=seed).items():
        what, _, last = metric.rpartition("_")
        of_set = {"set": last} if last in names else {}
        yield measurement(f"solvable_{what if of_set else metric}", *estimate, n=len(erased), **of_set, **labels)


def adjacent(
    predict: Predict, queries: Tensor, settings: Settings, levels: list[float], neighbours: int, seed: int
) -> pd.DataFrame:
    """Seeds of queries (q, 3, 8, 8) with white noise of some PSNR added; a row for each level and query.

    cosine: mean distance of pairs of a query's neighbours; distance, variation: mean of their distances to the query's
    own seed, and its coefficient of variation; psnr: of what the neighbours give back, against the query.
    """
    count = len(levels) * neighbours
    noise = drawn_noise(seed, np.arange(count), SHAPE).double()
    sizes = torch.tensor([PEAK * 10 ** (-level / 20) for level in levels], dtype=torch.float64)
    noise *= sizes.repeat_interleave(neighbours).view(-1, 1, 1, 1)
    pictures = torch.cat([torch.cat([query[None], query + noise]) for query in queries])
    found = audit(predict, pictures, settings)
    rows = []
    for index, query in enumerate(queries):
        own, *rest = range(index * (count + 1), (index + 1) * (count + 1))
        for place, level in enumerate(levels):
            near = rest[place * neighbours : (place + 1) * neighbours]
            _, distances = statistics.to_centre(found.seeds[near], found.seeds[own])
            values = {
                "cosine": statistics.pairwise(found.seeds[near])[0].mean(),
                "distance": distances.mean(),
                "variation": statistics.variation(distances),
                "psnr": decibels(found.back[near], query).mean(),
            }
            rows.append({"level": level, "query": index, **values})
    return pd.DataFrame(rows)


def solvable(
    curves: Output,
    measurements: Output,
    *,
    pictures: Positive,
    steps: list[Positive],
    solver: Literal["fixed_point", "anderson"],
    iterations: Positive,
    tolerance: Amount,
    components: Positive,
    spread: Amount,
    levels: list[Amount],
    neighbours: Positive,
    queries: Positive,
    seed: int = 0,
) -> dict:
    """Audit every model at the first number of steps, and the two that know the mixture also elsewhere.

    start: released (pictures taken as having the noise of timestep 0 already, set_alpha_to_one false), matched (that
    noise is added first), clean (the sampler ends at a share of 1). spread: the data's standard deviation off their
    flats. levels: PSNR in dB of the noise that makes a query's neighbours. curves: what the figure draws (panel, model,
    set, x, y, low, high).
    """
    if components <= max(REFERENCES) or pictures < 2 or neighbours < 3 or queries > pictures:
        raise UserError(
            f"components {components}, pictures {pictures}, neighbours {neighbours}, queries {queries}: give at least "
            f"{max(REFERENCES) + 1} components, 2 pictures and 3 neighbours, and no more queries than pictures"
        )
    shares = alphas_cumprod()
    mixture = mixtures.random_mixture(seed, components=components, dimensions=DIMENSIONS, rank=RANK, spread=spread)
    known = {"vanilla": mixture, "oracle": mixture.without(ERASED)}
    models = {name: mixtures.of_mixture(each, shares) for name, each in known.items()}
    models |= mixtures.knowing_nothing(shares, DIMENSIONS, seed)
    sets = draw_sets(mixture, pictures, seed)
    names = {"erased": slice(0, pictures), "reference": slice(pictures, 2 * pictures)}
    both = torch.cat(list(sets.values()))

    main = Settings(solver, iterations, tolerance, steps[0], "released")
    cases = [(model, main) for model in models]
    cases += [(model, main._replace(steps=count)) for model in KNOWING for count in steps[1:]]
    cases += [(model, main._replace(start=start)) for model in KNOWING for start in STARTS[1:]]
    rows, drawn = [], []
    for model, settings in cases:
        found = audit(models[model], started(both, settings.start, seed), settings)
        rows += rows_of(found, names, seed, model=model, **settings.labels())
        if settings == main:
            scores = statistics.z_score(found.seeds)
            drawn += [
                {"panel": "seeds", "model": model, "set": name, "x": "", "y": score}
                for name, part in names.items()
                for score in scores[part]
            ]
    for model in ADJACENT:
        for name, part in sets.items():
            table = adjacent(models[model], part[:queries], main, levels, neighbours, seed)
            for level, group in table.groupby("level"):
                for metric in ("cosine", "distance", "variation", "psnr"):
                    values = group[metric].to_numpy()
                    labels = {"model": model, "set": name, "level": f"{level:g}", **main.labels()}
                    found = (values.mean(), *t_interval(values)[:2])
                    rows.append(measurement(f"solvable_adjacent_{metric}", *found, n=len(values), **labels))
                    drawn.append({"panel": metric, "model": model, "set": name, "x": f"{level:g}", "y": values.mean()})
    for model, each in known.items():
        for name, part in sets.items():
            values = mixtures.log_density(each, part.flatten(1)).numpy()
            found = (values.mean(), *t_interval(values)[:2])
            rows.append(measurement("solvable_log_density", *found, n=pictures, model=model, set=name))
    rows.append(measurement("solvable_normal_mean", statistics.normal_mean(DIMENSIONS)))
    rows.append(measurement("solvable_normal_sd", statistics.normal_sd(DIMENSIONS)))
    rows.append(measurement("solvable_floor", *statistics.floor(pictures, DIMENSIONS, seed=seed), n=pictures))
    write(measurements, rows, family="memory", method="solvable", seed=seed)
    pd.DataFrame(drawn).to_parquet(curves, index=False)
    return {"cases": len(cases)}


if __name__ == "__main__":
    step(solvable)
