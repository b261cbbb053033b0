"""Subtracted importance-sampled scores (Alberti et al. 2025): one noised point serves both losses.

The point is drawn from a mixture of the noised remembered image and the noised target. Both losses read the network's
one prediction there, weighted by how likely each image is to have led to the point. At every step the forget gradient
is scaled to `fraction` of the remember gradient's length, as in the release: one forward, two backwards.
"""

import numpy as np
import torch
from torch import Tensor

from palimpsest.models.forward_process import add_noise, implied_noise
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.losses import squared_errors
from palimpsest.unlearning.streams import Stream


def direction(step: Step, *, mixture: float = 0.5, fraction: float = 0.1) -> Tensor:
    """G_x - s G_a, to descend along: it lowers the loss of what is remembered and raises the target's.

    mixture: the share of points that start from the target (lambda); fraction: |s G_a| / |G_x|. Defaults: the paper's
    lambda, and the share of the naive-deletion gradient's length to which its README tunes the scale.
    """
    remember, target = step.remember, step.forget.images
    times, noise = remember.timesteps, remember.noise
    chosen = torch.from_numpy(from_target(step, mixture)).to(target.device).view(-1, 1, 1, 1)
    noisy = add_noise(torch.where(chosen, target, remember.images), noise, step.alphas_cumprod, times)
    wanted_remember = implied_noise(noisy, remember.images, step.alphas_cumprod, times)
    wanted_target = implied_noise(noisy, target, step.alphas_cumprod, times)
    weight_remember, weight_target = importance_weights(wanted_remember, wanted_target, mixture)
    losses = {
        "remember": squared_errors(wanted_remember, weight_remember),
        "forget": squared_errors(wanted_target, weight_target),
    }
    kept, lost = step.gradients(losses, noisy, times)
    step.watch(-lost, kept)
    return kept - relative_scale(kept, lost, fraction) * lost


def from_target(step: Step, mixture: float) -> np.ndarray:
    """Whether each point starts from a target, bool (n,): true with probability `mixture`, at each place by itself."""
    return (step.random(Stream.MIXTURE).random(step.size) < mixture)[step.places]


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
