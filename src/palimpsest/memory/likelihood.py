"""log p of pictures or latents under a diffusion model, by its probability-flow ODE (Song et al. 2021, eqs. 38 to 40).

In x = z / sqrt(a) and psi = sqrt(1 / a - 1) the flow is dx / dpsi = eps(sqrt(a) x, t), so that

    log p(z_0) = log N(z_T; 0, I) + (d / 2) (log a_T - log a_0) + integral of sqrt(a) tr(d eps / d z) dpsi,

with the seeds z_T that the flow ends at. A seed's own likelihood leaves the integral out: it is not log p. In nats. It
is the density at the share final_alpha: at 1 of the latents themselves, else of latents with that much noise.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from palimpsest.memory.ddim import Predict, inverted, psi, transitions

# (latents (n, c, h, w), their noise with its graph) -> k estimates (n, k) of the trace of d noise / d latents.
Trace = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Likelihood:
    """values: log p in nats (n,); errors: the standard error of each, of its probes, 0 if exact; seeds (n, c, h, w)."""

    values: Tensor
    errors: Tensor
    seeds: Tensor


def exact_trace(latents: Tensor, noise: Tensor) -> Tensor:
    """The trace (n, 1): a gradient for each of the d dimensions. For toys."""
    flat, total = noise.flatten(1), torch.zeros(len(noise), dtype=noise.dtype, device=noise.device)
    for index in range(flat.shape[1]):
        (slope,) = torch.autograd.grad(flat[:, index].sum(), latents, retain_graph=True)
        total += slope.flatten(1)[:, index]
    return total[:, None]


def probed_trace(probes: Tensor) -> Trace:
    """Hutchinson's estimates v' J v (1990) of the trace (n, k); probes: (n, k, c, h, w), of mean 0 and covariance I."""

    def trace(latents: Tensor, noise: Tensor) -> Tensor:
        found = []
        for probe in probes.unbind(1):
            (slope,) = torch.autograd.grad((noise * probe).sum(), latents, retain_graph=True)
            found.append((slope * probe).flatten(1).sum(1))
        return torch.stack(found, 1)

    return trace


def rademacher(count: int, shape: tuple[int, ...], probes: int, seed: int, first: int = 0) -> Tensor:
    """Probes of +1 and -1, (count, probes, *shape): each picture's own, whatever the batch; first: its number."""
    numbers = range(first, first + count)
    drawn = [np.random.default_rng((seed, number)).integers(2, size=(probes, *shape)) for number in numbers]
    return torch.from_numpy(2 * np.stack(drawn) - 1)


def log_likelihood(
    predict: Predict,
    latents: Tensor,
    alphas_cumprod: Tensor,
    timesteps: Iterable[int],
    *,
    final_alpha: float,
    probes: int = 0,
    seed: int = 0,
    first: int = 0,
) -> Likelihood:
    """log p of latents (n, c, h, w) by Heun's method along the sampler's timesteps, as `memory.solvers.heun`.

    probes: how many, the same along the whole flow (Grathwohl et al. 2019), so that each gives an unbiased estimate and
    their spread its standard error (two at least); 0 for the exact trace. first: the number of the first picture, by
    which its probes are drawn. predict must let gradients through, and no
    picture may enter another's noise. From clean latents the first step is Euler's, the trace taken at its end.
    """
    noisy = latents if latents.dtype == torch.float64 else latents.float()
    n, size = len(noisy), noisy[0].numel()
    rows = torch.arange(n, device=noisy.device)
    trace: Trace = exact_trace
    if probes:
        trace = probed_trace(rademacher(n, tuple(noisy.shape[1:]), probes, seed, first).to(noisy))

    def at(points: Tensor, timestep: int, share: float) -> tuple[Tensor, Tensor]:
        """The noise predicted, and sqrt(a) times its traces (n, k)."""
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            noise = predict(points, timestep, rows)
            return noise.detach().to(noisy.dtype), math.sqrt(share) * trace(points, noise).detach()

    total = noisy.new_zeros(n, max(probes, 1))
    steps = transitions(alphas_cumprod, timesteps, final_alpha)
    for step in reversed(steps):
        width = psi(step.alpha) - psi(step.alpha_before)
        if step.alpha_before == 1:
            noise, _ = at(noisy, step.timestep, step.alpha)
            noisy = inverted(step, noisy, noise)
            total += width * at(noisy, step.timestep, step.alpha)[1]
            continue
        first, slope = at(noisy, max(step.before, 0), step.alpha_before)
        second, slope_after = at(inverted(step, noisy, first), step.timestep, step.alpha)
        noisy = inverted(step, noisy, (first + second) / 2)
        total += width * (slope + slope_after) / 2
    prior = -(noisy.flatten(1).square().sum(1) + size * math.log(2 * math.pi)) / 2
    change = size / 2 * (math.log(steps[0].alpha) - math.log(final_alpha))
    errors = total.std(1) / math.sqrt(probes) if probes > 1 else torch.full_like(prior, math.nan if probes else 0.0)
    return Likelihood(prior + change + total.mean(1), errors, noisy)
