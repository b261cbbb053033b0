"""Subtracted importance-sampled scores (Alberti et al. 2025): one noised point serves both losses.

The point is drawn from a mixture of the noised remembered image and the noised target. Both losses read the network's
one prediction there, weighted by how likely each image is to have led to the point. The forget gradient is scaled to
`fraction` of the remember gradient's length; that scale is the one measured `refresh` steps ago at most, so that
between measurements a single backward pass does.
"""

import torch
from torch import Tensor

from palimpsest.instance.engine import Step, squared_errors
from palimpsest.models.forward_process import add_noise, implied_noise


def direction(step: Step, *, mixture: float = 0.5, fraction: float = 0.1, refresh: int = 10):
    remember, target = step.remember, step.forget.images
    times, noise = remember.timesteps, remember.noise
    count = len(times)
    # The first part of the batch comes from the targets: a mixture's share without a further random draw.
    from_target = (torch.arange(count, device=target.device) < round(mixture * count)).view(-1, 1, 1, 1)
    noisy = add_noise(torch.where(from_target, target, remember.images), noise, step.alphas_cumprod, times)
    wanted_remember = implied_noise(noisy, remember.images, step.alphas_cumprod, times)
    wanted_target = implied_noise(noisy, target, step.alphas_cumprod, times)
    weight_remember, weight_target = importance_weights(wanted_remember, wanted_target, mixture)

    remember_losses = squared_errors(wanted_remember, weight_remember)
    forget_losses = squared_errors(wanted_target, weight_target)
    age = step.memory.get("age", 0)
    if age % refresh == 0:
        kept = step.gradient("remember", noisy, times, remember_losses)
        lost = step.gradient("forget", noisy, times, forget_losses)
        step.watch(-lost, kept)
        scale = relative_scale(kept, lost, fraction)
        step.memory |= {"scale": scale, "age": age + 1}
        return kept - scale * lost
    scale, step.memory["age"] = step.memory["scale"], age + 1
    return step.gradient(
        "joint",
        noisy,
        times,
        lambda predicted, rows: remember_losses(predicted, rows) - scale * forget_losses(predicted, rows),
    )


def relative_scale(kept: Tensor, lost: Tensor, fraction: float) -> float:
    """What the forget gradient is multiplied with to have `fraction` of the remember gradient's length."""
    return fraction * float(kept.norm()) / max(float(lost.norm()), 1e-12)


def importance_weights(wanted_remember: Tensor, wanted_target: Tensor, mixture: float) -> tuple[Tensor, Tensor]:
    """Weights (n,) of both losses: densities of the noised point given each image, over that of the mixture.

    With d = |eps|^2 / 2 they are 1 / ((1 - lambda) + lambda exp(d_x - d_a)) and its mirror image; written as logistic
    functions they neither overflow at small timesteps nor fail at lambda 0 or 1. (1 - lambda) w_x + lambda w_a = 1.
    """
    if not 0 <= mixture <= 1:
        raise ValueError(f"mixture is {mixture}: give a share between 0 and 1")
    gap = (wanted_remember.double().square().sum((1, 2, 3)) - wanted_target.double().square().sum((1, 2, 3))) / 2
    if mixture == 0:
        return torch.ones_like(gap).float(), gap.clamp(max=80).exp().float()
    if mixture == 1:
        return (-gap).clamp(max=80).exp().float(), torch.ones_like(gap).float()
    odds = torch.logit(torch.tensor(mixture, dtype=gap.dtype))
    from_target = torch.sigmoid(gap + odds)
    return ((1 - from_target) / (1 - mixture)).float(), (from_target / mixture).float()
