"""From pictures back to latents of a decoder by gradient descent: the source's sequential inversion block.

The latents that a decoder turns into a query picture are sought from other starts, such as the latents of a support
picture. Where they end they are seeds' worth of memories only as far as the same curve for noise of the same size says
otherwise (`palimpsest.memory.solvable`). It depends on no diffusion model: one run serves every edit of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from palimpsest.models import autoencoder
from palimpsest.models.pixels import to_unit

Decode = Callable[[Tensor], Tensor]
KINDS = ("own", "distant", "adjacent", "reencoded")  # of latents of a query: `memory.decode` says what they are
BETAS, EPSILON = (0.9, 0.999), 1e-8  # Adam's own (Kingma and Ba 2015)


@dataclass(frozen=True)
class DecoderInversion:
    """latents: (n, c, h, w); psnr: dB of what they decode to, (n,); steps: taken by each row, (n,) int64.

    curve: PSNR before each step and after the last one of any row, (most steps + 1, n), NaN where a row has ended.
    """

    latents: Tensor
    psnr: Tensor
    steps: Tensor
    curve: Tensor


def decibels(errors: Tensor) -> Tensor:
    """PSNR of mean squared errors in [0, 1] units."""
    return -10 * errors.log10()


def invert_decoder(
    decode: Decode,
    targets: Tensor,
    starts: Tensor,
    *,
    learning_rate: float = 0.01,
    steps: int = 3000,
    patience: int = 100,
    gain: float = 0.05,
    batch: int = 64,
) -> DecoderInversion:
    """Adam on the latents from starts (n, c, h, w) towards targets (n, 3, H, W) in [0, 1], one for each or (1, ...).

    decode: latents (k, c, h, w) -> pictures (k, 3, H, W), [0, 1] or near it. The loss is the mean squared error of each
    row, and the last iterate is kept, as in the release, which always takes 3000 steps. Here a row ends, and is decoded
    no more, when its PSNR has gained less than `gain` dB in `patience` steps (0: never). No row depends on another;
    so many at a time are decoded.
    """
    latents, targets = starts.detach().float().clone(), targets.expand(len(starts), *targets.shape[1:])
    moments = first, second = torch.zeros_like(latents), torch.zeros_like(latents)
    active, ended = torch.arange(len(latents), device=latents.device), torch.zeros(len(latents), dtype=torch.int64)
    curve = []
    for step in range(steps):
        errors, gradient = _errors(decode, latents[active], targets[active], batch)
        curve.append(latents.new_full((len(latents),), torch.nan).index_copy(0, active, decibels(errors)))
        if patience and step >= patience:
            active, gradient = _going(curve, active, gradient, patience, gain)
            if not len(active):
                break
        first[active] = torch.lerp(gradient, first[active], BETAS[0])
        second[active] = torch.lerp(gradient.square(), second[active], BETAS[1])
        mean, square = (each[active] / (1 - beta ** (step + 1)) for each, beta in zip(moments, BETAS, strict=True))
        latents[active] -= learning_rate * mean / (square.sqrt() + EPSILON)
        ended[active.cpu()] += 1
    if len(active):
        errors, _ = _errors(decode, latents[active], targets[active], batch)
        curve.append(latents.new_full((len(latents),), torch.nan).index_copy(0, active, decibels(errors)))
    found = torch.stack(curve)
    return DecoderInversion(latents, found[ended.to(found.device), torch.arange(len(latents))], ended, found)


def _going(curve: list[Tensor], active: Tensor, gradient: Tensor, patience: int, gain: float) -> tuple[Tensor, Tensor]:
    """The rows, with their gradients, whose PSNR has gained enough in the last `patience` steps."""
    going = curve[-1][active] - curve[-1 - patience][active] >= gain
    return active[going], gradient[going]


def _errors(decode: Decode, latents: Tensor, targets: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """Mean squared errors (k,) of what latents (k, c, h, w) decode to, and the gradients of each row's own."""
    found = []
    for some, aims in zip(latents.split(batch), targets.split(batch), strict=True):
        wanted = some.detach().requires_grad_()
        with torch.enable_grad():
            errors = (decode(wanted) - aims).square().flatten(1).mean(1)
            (gradient,) = torch.autograd.grad(errors.sum(), wanted)
        found.append((errors.detach(), gradient))
    errors, gradients = zip(*found, strict=True)
    return torch.cat(errors), torch.cat(gradients)


def decoder_of(network: AutoencoderKL) -> Decode:
    """A model's decoder from scaled latents (k, c, h, w) to pictures (k, 3, H, W) in about [0, 1]."""
    return lambda latents: to_unit(network.decode(latents / network.config.scaling_factor).sample)


def reencoded(network: AutoencoderKL, latents: Tensor) -> Tensor:
    """Latents decoded to 8 bits and encoded again: what the release inverts by default in place of those it found."""
    return autoencoder.encode(network, autoencoder.decode(network, latents))[0]
