"""Erased Stable Diffusion (Gandikota et al. 2023), which erases a concept: prompts, or a class.

Where guided samples of the concept pass, the network is led away from it: its prediction should be
eps_0(none) - eta (eps_0(concept) - eps_0(none)). It knows neither target nor surrogate, and keeps nothing on purpose.
The first release samples with the network as it is edited and starts from eps_0(none); the second samples with the
frozen one and starts from eps_0(concept). ESD-x and ESD-u are choices of parameters, not of this loss.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from palimpsest.models.forward_process import drawn_noise
from palimpsest.options import Positive, Size
from palimpsest.unlearning.context import in_turn
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.losses import squared_errors
from palimpsest.unlearning.streams import Stream

Policy = Literal["frozen", "student"]
Start = Literal["none", "concept"]


def direction(
    step: Step,
    *,
    eta: float = 1.0,
    guidance: Size = 3.0,
    sampling_steps: Positive = 20,
    paths: Positive = 32,
    policy: Policy = "frozen",
    every: Positive = 25,
    start: Start = "none",
) -> Tensor:
    """The gradient of the squared error to the prediction that leads away from the concept, to descend along.

    Needs conditioning. eta: how far away, in units of the conditional prediction's distance to the unconditional one;
    guidance: scale of the trajectories' guidance; sampling_steps: points of each; paths: how many trajectories, the
    concept's prompts in turn. policy: whose trajectories; the student's are drawn anew every so many steps (`every`).
    start: from which prediction eta leads away. Defaults of eta, guidance and start: the first release's, of policy:
    the second's, whose eta is 2 and start the concept; the others are ours (both releases sample a path a step).
    """
    noisy, times, wanted, conditions = away_from_concept(
        step, eta, guidance, sampling_steps, paths, policy=policy, every=every, start=start
    )
    return step.gradient("forget", noisy, times, squared_errors(wanted), conditions)


def away_from_concept(
    step: Step,
    eta: float,
    guidance: float,
    sampling_steps: int,
    paths: int,
    *,
    policy: Policy = "frozen",
    every: int = 25,
    start: Start = "none",
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points of guided samples, their timesteps, the noise that should be predicted there, and their conditions."""
    turn = step.index // every if policy == "student" else 0
    if step.memory.get("paths_of") != turn:
        sampler = step.network if policy == "student" else step.frozen
        step.memory["paths"] = guided_paths(step, guidance, sampling_steps, paths, sampler, turn)
        step.memory["paths_of"] = turn
    points, path_times = step.memory["paths"]
    rng = step.random(Stream.POINTS)
    which, when = (rng.integers(len(each), size=step.size)[step.places] for each in (points, path_times))
    noisy, times, conditions = points[which, when], path_times[when], in_turn(step.conditioning.bare, which)
    with torch.no_grad():
        conditional, unconditional = both_predictions(step, step.frozen, noisy, times, conditions)
    begin = unconditional if start == "none" else conditional
    return noisy, times, begin - eta * (conditional - unconditional), conditions


def both_predictions(
    step: Step, network: nn.Module, noisy: Tensor, times: Tensor, conditions: Tensor
) -> tuple[Tensor, Tensor]:
    """A network's predictions for conditions of the concept, and for none."""
    none = step.conditioning.none.expand(len(times), *step.conditioning.none.shape)
    # Together: small batches cost the time of the calls, not that of their rows.
    given = torch.cat([conditions, none])
    conditional, unconditional = step.predict(network, noisy.repeat(2, 1, 1, 1), times.repeat(2), given).chunk(2)
    return conditional, unconditional


@torch.no_grad()
def guided_paths(
    step: Step, guidance: float, sampling_steps: int, paths: int, network: nn.Module | None = None, turn: int = 0
) -> tuple[Tensor, Tensor]:
    """Every point of deterministic guided samples (paths, steps, c, h, w), and the timesteps (steps,).

    network: which samples, the frozen one if none is given. turn: which sampling of several this is; each has noise of
    its own. Path i is of row i % k of the concept's conditions. Where clean images have bounds, predicted ones keep
    them.
    """
    alphas = step.alphas_cumprod
    times = torch.linspace(len(alphas) - 1, 0, sampling_steps, device=alphas.device).round().long()
    conditions = in_turn(step.conditioning.bare, np.arange(paths))
    # A stream of its own: no noise that samples are later judged from.
    number = step.context.number(Stream.PATHS, *([turn] if turn else []))
    noisy = drawn_noise(number, np.arange(paths), tuple(step.forget.images.shape[1:])).to(alphas.device)
    points = []
    for here, there in zip(times, [*times[1:], None], strict=True):
        points.append(noisy)
        given = here.expand(paths)
        conditional, unconditional = both_predictions(step, network or step.frozen, noisy, given, conditions)
        noise = unconditional + guidance * (conditional - unconditional)
        clean = (noisy - (1 - alphas[here]).sqrt() * noise) / alphas[here].sqrt()
        if step.context.bounds is not None:
            clean = clean.clamp(*step.context.bounds)
        if there is not None:
            noise = (noisy - alphas[here].sqrt() * clean) / (1 - alphas[here]).sqrt()
            noisy = alphas[there].sqrt() * clean + (1 - alphas[there]).sqrt() * noise
    return torch.stack(points, 1), times
