"""Erased Stable Diffusion (Gandikota et al. 2023), which erases a concept: a prompt, or a class.

Where the frozen model's own guided samples of the concept pass, the network is led away from it: its prediction should
be eps_0(none) - eta (eps_0(concept) - eps_0(none)). It knows neither target nor surrogate, and keeps nothing on
purpose. The frozen model's trajectories are sampled once and used at every step.
"""

import numpy as np
import torch
from torch import Tensor

from palimpsest.models.forward_process import drawn_noise
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.losses import squared_errors
from palimpsest.unlearning.streams import Stream


def direction(
    step: Step, *, eta: float = 1.0, guidance: float = 3.0, sampling_steps: int = 20, paths: int = 32
) -> Tensor:
    """The gradient of the squared error to the prediction that leads away from the concept, to descend along.

    Needs conditioning. eta: how far away, in units of the conditional prediction's distance to the unconditional one;
    guidance: scale of the trajectories' guidance; sampling_steps: points of each; paths: how many trajectories.
    Defaults of eta and guidance: the released code's; the others are ours.
    """
    noisy, times, wanted = away_from_concept(step, eta, guidance, sampling_steps, paths)
    return step.gradient("forget", noisy, times, squared_errors(wanted), rows(step.conditioning.concept, len(times)))


def rows(condition: Tensor, count: int) -> Tensor:
    """A condition for each of so many rows (count, ...)."""
    return condition.expand(count, *condition.shape)


def away_from_concept(
    step: Step, eta: float, guidance: float, sampling_steps: int, paths: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Points of the frozen model's guided samples, their timesteps, and the noise that should be predicted there."""
    if "paths" not in step.memory:
        step.memory["paths"] = guided_paths(step, guidance, sampling_steps, paths)
    points, path_times = step.memory["paths"]
    rng = step.random(Stream.POINTS)
    which, when = (rng.integers(len(each), size=step.size)[step.places] for each in (points, path_times))
    noisy, times = points[which, when], path_times[when]
    with torch.no_grad():
        conditional, unconditional = both_predictions(step, noisy, times)
    return noisy, times, unconditional - eta * (conditional - unconditional)


def both_predictions(step: Step, noisy: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """The frozen model's predictions for the concept, and for none."""
    conditions = step.conditioning.concept, step.conditioning.none
    conditional, unconditional = (
        step.predict(step.frozen, noisy, times, rows(each, len(times))) for each in conditions
    )
    return conditional, unconditional


@torch.no_grad()
def guided_paths(step: Step, guidance: float, sampling_steps: int, paths: int) -> tuple[Tensor, Tensor]:
    """Every point of deterministic guided samples (paths, steps, c, h, w), and the timesteps (steps,)."""
    alphas = step.alphas_cumprod
    times = torch.linspace(len(alphas) - 1, 0, sampling_steps, device=alphas.device).round().long()
    # A stream of its own: no noise that samples are later judged from.
    number = step.context.number(Stream.PATHS)
    noisy = drawn_noise(number, np.arange(paths), tuple(step.forget.images.shape[1:])).to(alphas.device)
    points = []
    for here, there in zip(times, [*times[1:], None], strict=True):
        points.append(noisy)
        conditional, unconditional = both_predictions(step, noisy, here.expand(paths))
        noise = unconditional + guidance * (conditional - unconditional)
        clean = ((noisy - (1 - alphas[here]).sqrt() * noise) / alphas[here].sqrt()).clamp(-1, 1)
        if there is not None:
            noise = (noisy - alphas[here].sqrt() * clean) / (1 - alphas[here]).sqrt()
            noisy = alphas[there].sqrt() * clean + (1 - alphas[there]).sqrt() * noise
    return torch.stack(points, 1), times
