"""Erased Stable Diffusion (Gandikota et al. 2023), which erases a prompt: here a class.

Where the frozen model's own guided samples of the class pass, the network is led away from the class: its prediction
should be eps_0(no class) - eta (eps_0(class) - eps_0(no class)). It knows neither target nor surrogate, and keeps
nothing on purpose. The frozen model's trajectories are sampled once and used at every step.
"""

import numpy as np
import torch
from torch import Tensor

from palimpsest.instance.engine import Step, squared_errors
from palimpsest.models.forward_process import drawn_noise

POINTS, CLASSES, PATHS = 3, 4, 6  # streams of random draws beside the engine's and EraseDiff's


def direction(step: Step, *, eta: float = 1.0, guidance: float = 3.0, sampling_steps: int = 20, paths: int = 32):
    noisy, times, wanted = away_from_class(step, eta, guidance, sampling_steps, paths)
    return step.gradient("forget", noisy, times, squared_errors(wanted))


def away_from_class(
    step: Step, eta: float, guidance: float, sampling_steps: int, paths: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Points of the frozen model's guided samples, their timesteps, and the noise that should be predicted there."""
    if "paths" not in step.memory:
        step.memory["paths"] = guided_paths(step, guidance, sampling_steps, paths)
    points, path_times = step.memory["paths"]
    rng = step.random(POINTS)
    which, when = (rng.integers(len(each), size=step.size)[step.places] for each in (points, path_times))
    noisy, times = points[which, when], path_times[when]
    with torch.no_grad():
        conditional, unconditional = both_predictions(step, noisy, times)
    return noisy, times, unconditional - eta * (conditional - unconditional)


def both_predictions(step: Step, noisy: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """The frozen model's predictions for the class, and for none."""
    none = torch.full_like(times, step.frozen.unconditional)
    return step.predict(step.frozen, noisy, times), step.predict(step.frozen, noisy, times, none)


@torch.no_grad()
def guided_paths(step: Step, guidance: float, sampling_steps: int, paths: int) -> tuple[Tensor, Tensor]:
    """Every point of deterministic guided samples (paths, steps, c, h, w), and the timesteps (steps,)."""
    alphas = step.alphas_cumprod
    times = torch.linspace(len(alphas) - 1, 0, sampling_steps, device=alphas.device).round().long()
    # A stream of its own: no noise that samples are later judged from.
    number = int(np.random.SeedSequence((step.seed, PATHS)).generate_state(1)[0])
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
