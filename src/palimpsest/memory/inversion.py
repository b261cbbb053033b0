"""From latents to the seeds that a model's deterministic sampler starts from to draw them, and back.

fp32 or better throughout: sampling enlarges an error of the seed by up to 1 / sqrt(a_T), 13 times in Stable Diffusion.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from palimpsest.memory.ddim import Predict, Transition, inverted, psi, sampled, transitions
from palimpsest.memory.solvers import SOLVERS, Equation, rms

Sampler = Literal["ddim", "heun"]
# The sampler that a solver inverts.
SAMPLERS: dict[str, Sampler] = {name: "heun" if name == "heun" else "ddim" for name in SOLVERS}
# Solvers that start a step where the steps before it lead; that the others start from z_s is how they are published.
CONTINUING = ("anderson",)


@dataclass(frozen=True)
class Inversion:
    """seeds: (n, c, h, w). residuals: rms of F(z) - z by step, the least noisy first, and picture, (steps, n).

    evaluations: of the network, by picture, (n,) int64; those that only verify are not among them.
    """

    seeds: Tensor
    residuals: Tensor
    evaluations: Tensor


@torch.no_grad()
def invert(
    predict: Predict,
    latents: Tensor,
    alphas_cumprod: Tensor,
    timesteps: Iterable[int],
    *,
    solver: str,
    iterations: int,
    tolerance: float,
    final_alpha: float,
    verify: bool | Predict = False,
) -> Inversion:
    """The seeds of latents (n, c, h, w), each picture's own whatever the others are.

    alphas_cumprod (T,), timesteps (descending) and final_alpha are those of the sampler. iterations, tolerance: what
    they mean to each solver is said there. verify: evaluate once more at the result of each step, so that the residuals
    are its own rather than the last guess's; of `heun`, which solves no equation of DDIM's, they say how far it is off.
    By another network, such as the same in a higher precision, they say how far it is off that one's.
    """
    clean = latents if latents.dtype == torch.float64 else latents.float()
    noisy, noises, residuals = clean, [], []
    rows, evaluations = torch.arange(len(clean), device=clean.device), 0
    for step in reversed(transitions(alphas_cumprod, timesteps, final_alpha)):
        equation = Equation(predict, step, noisy, clean)
        start = _continued(step, noisy, noises) if solver in CONTINUING else noisy
        solution = SOLVERS[solver](equation, start, iterations, tolerance)
        noises = [*noises[-1:], (psi(step.alpha), (solution.latents - step.scale * noisy) / step.weight)]
        noisy, evaluations = solution.latents, evaluations + solution.evaluations
        asked = replace(equation, predict=verify) if callable(verify) else equation
        residuals.append(rms(asked.image(noisy, rows) - noisy) if verify else solution.residuals)
    return Inversion(noisy, torch.stack(residuals), evaluations)


def _continued(step: Transition, cleaner: Tensor, noises: list[tuple[float, Tensor]]) -> Tensor:
    """The z_t that z_s (n, c, h, w) has by the line in psi through the noises of the last two steps; z_s at first.

    It costs no evaluation, and spares about one of four: along a path the noise bends little.
    """
    if not noises:
        return cleaner
    (where, noise), (before, earlier) = noises[-1], noises[0]
    if len(noises) > 1:
        noise = noise + (psi(step.alpha) - where) / (where - before) * (noise - earlier)
    return inverted(step, cleaner, noise)


@torch.no_grad()
def generate(
    predict: Predict,
    seeds: Tensor,
    alphas_cumprod: Tensor,
    timesteps: Iterable[int],
    *,
    final_alpha: float,
    sampler: Sampler = "ddim",
) -> Tensor:
    """Latents (n, c, h, w) drawn from seeds: the counterpart of `invert` for the solvers of this sampler (SAMPLERS)."""
    noisy = seeds if seeds.dtype == torch.float64 else seeds.float()
    rows = torch.arange(len(noisy), device=noisy.device)
    for step in transitions(alphas_cumprod, timesteps, final_alpha):
        noise = predict(noisy, step.timestep, rows).to(noisy.dtype)
        if sampler == "heun" and step.alpha_before < 1:
            noise = (noise + _noise_after(predict, step, noisy, noise, rows)) / 2
        noisy = sampled(step, noisy, noise)
    return noisy


def _noise_after(predict: Predict, step: Transition, noisy: Tensor, noise: Tensor, rows: Tensor) -> Tensor:
    """The noise predicted where Euler's step arrives."""
    return predict(sampled(step, noisy, noise), max(step.before, 0), rows).to(noisy.dtype)
