"""The algebra of the deterministic sampler (DDIM, Song et al. 2021, eta 0), written on the shares of signal alone.

From a timestep t to the less noisy s before it, and with psi(a) = sqrt(1 / a - 1):

    z_s = sqrt(a_s / a_t) z_t - sqrt(a_s) (psi_t - psi_s) eps(z_t, t)                                        (sampling)
    z_t = sqrt(a_t / a_s) z_s + sqrt(a_t) (psi_t - psi_s) eps(z_t, t)                                        (inversion)

The second is implicit: z_t stands on both sides. With x = z / sqrt(a) both are Euler steps of dx / dpsi = eps.
Timesteps and shares are those of diffusers' DDIMScheduler: s = t - T // steps, and before 0 the share is its
final_alpha_cumprod, 1 or (set_alpha_to_one false, as in Stable Diffusion) that of timestep 0.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

# predict(noisy (k, c, h, w), timestep, rows (k,)) -> predicted noise (k, c, h, w), under whatever condition and
# guidance. rows: which pictures these are, because one that has converged is evaluated no more and is left out.
Predict = Callable[[Tensor, int, Tensor], Tensor]


@dataclass(frozen=True)
class Transition:
    """A step of the sampler: from a timestep, with its share of the signal, to the one before (perhaps negative)."""

    timestep: int
    before: int
    alpha: float
    alpha_before: float

    @property
    def scale(self) -> float:
        """sqrt(a_t / a_s), below 1."""
        return math.sqrt(self.alpha / self.alpha_before)

    @property
    def weight(self) -> float:
        """sqrt(a_t) (psi_t - psi_s): how far the predicted noise moves the latents when one inverts."""
        return math.sqrt(self.alpha) * (psi(self.alpha) - psi(self.alpha_before))


def zero(noisy: Tensor, timestep: int, rows: Tensor) -> Tensor:
    """A network that predicts no noise (`Predict`): it knows nothing, and its sampler is a bijection."""
    return torch.zeros_like(noisy)


def schedule_of(sampler) -> dict:
    """What inversion is told of a sampler of diffusers' whose timesteps are set."""
    return {
        "alphas_cumprod": sampler.alphas_cumprod,
        "timesteps": sampler.timesteps,
        "final_alpha": float(sampler.final_alpha_cumprod),
    }


def psi(alpha: float) -> float:
    """sqrt(1 / a - 1), the noise's standard deviation in units of the signal's."""
    return math.sqrt(1 / alpha - 1)


def transitions(alphas_cumprod: Tensor, timesteps: Iterable[int], final_alpha: float) -> list[Transition]:
    """The steps of a sampler, the noisiest first. alphas_cumprod: (T,); timesteps: the sampler's, descending."""
    shares, times = alphas_cumprod.double().tolist(), [int(each) for each in timesteps]
    gap = len(shares) // len(times)
    return [
        Transition(time, time - gap, shares[time], shares[time - gap] if time >= gap else float(final_alpha))
        for time in times
    ]


def sampled(step: Transition, noisy: Tensor, noise: Tensor) -> Tensor:
    """z_s of z_t and its predicted noise."""
    return (noisy - step.weight * noise) / step.scale


def inverted(step: Transition, cleaner: Tensor, noise: Tensor) -> Tensor:
    """z_t of z_s and a noise."""
    return step.scale * cleaner + step.weight * noise
