"""One audit: pictures to the seeds of a model, and from the seeds back, with what is measured on the way."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor

from palimpsest.memory import predictors, statistics
from palimpsest.memory.ddim import Predict, schedule_of, zero
from palimpsest.memory.inversion import SAMPLERS, generate, invert
from palimpsest.memory.predictors import Precision
from palimpsest.models import autoencoder
from palimpsest.models.text_diffusion import TextDiffusion, sampler_of

PEAK = 255.0


class Settings(NamedTuple):
    """How one inverts: a solver of `memory.solvers` with its settings, at so many steps of the sampler.

    precision: of the network's predictions.
    """

    solver: str
    steps: int
    iterations: int
    tolerance: float
    precision: Precision = "float32"


class Found(NamedTuple):
    """seeds: (n, c, h, w); pictures: what they give back, (n, H, W, 3) uint8; rows: what is measured of each."""

    seeds: np.ndarray
    pictures: np.ndarray
    rows: pd.DataFrame


def audited(model: TextDiffusion, predict: Predict, latents: Tensor, pictures: np.ndarray, settings: Settings) -> Found:
    """Seeds of latents (n, c, h, w) by the model's own sampler, and how well they give pictures (n, H, W, 3) back.

    rows: nll (nats) and z of the seed; mean and variance of each of its channels (channel_mean_0, ...) and the
    correlation of neighbours; the largest residual of any step, whether all steps are within the tolerance,
    evaluations; the round trip of the latents (root mean square) and the PSNR (dB).
    """
    told = schedule_of(sampler_of(model, settings.steps))
    latents = latents.to(model.alphas_cumprod.device)
    found = invert(
        predict, latents, **told, solver=settings.solver, iterations=settings.iterations, tolerance=settings.tolerance
    )
    back = generate(predict, found.seeds, **told, sampler=SAMPLERS[settings.solver])
    seeds, decoded = found.seeds.cpu().numpy(), autoencoder.decode(model.vae, back)
    moments = zip(("channel_mean", "channel_variance"), statistics.channel_moments(seeds), strict=True)
    channels = {f"{name}_{number}": each for name, values in moments for number, each in enumerate(values.T)}
    worst = found.residuals.max(0).values.cpu().numpy()
    rows = pd.DataFrame(
        {
            "nll": statistics.nll(seeds),
            "z": statistics.z_score(seeds),
            **channels,
            "autocorrelation": statistics.autocorrelation(seeds),
            "residual": worst,
            # A residual that is not a number is not within the tolerance.
            "converged": worst <= settings.tolerance,
            "evaluations": found.evaluations.cpu().numpy(),
            "round_trip": (back - latents).flatten(1).square().mean(1).sqrt().cpu().numpy(),
            "psnr": decibels(pictures, decoded),
        }
    )
    return Found(seeds, decoded, rows)


def decibels(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """PSNR (n,) of pairs of uint8 pictures (n, H, W, 3), against each other; infinite for equal ones."""
    errors = ((first.astype(np.float64) - second) ** 2).mean((1, 2, 3))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(PEAK**2 / errors)


def predictor(
    model: TextDiffusion | None, prompts: Sequence[str], guidance: float, precision: Precision = "float32"
) -> Predict:
    """A model under prompts (n,); None is a network that predicts no noise, whatever it sees."""
    if model is None:
        return zero
    return predictors.of_text(model, model.ids(prompts), guidance, precision=precision)
