"""ReTrack (AISTATS 2026): lead the target's denoising to its nearest remembered images.

At the noised target each neighbour implies a noise; their squared errors are weighted by how likely each neighbour is
to have led there, softmax(-|noise|^2 / 2). One neighbour is Unpromptable with that neighbour as the surrogate.
"""

import torch
from torch import Tensor

from palimpsest.models.forward_process import implied_noise
from palimpsest.unlearning.engine import Step


def direction(step: Step, *, share: float = 0.005, neighbours: int = 10) -> Tensor:
    """share G_f + (1 - share) G_r, to descend along: G_f leads to the neighbours.

    share: weight of the forget loss, in [0, 1]; neighbours: how many of the nearest count. Defaults: the released
    CelebA setting.
    """
    batch = step.forget
    noisy = step.noisy(batch)
    implied = torch.stack(
        [
            implied_noise(noisy, one.expand_as(noisy), step.alphas_cumprod, batch.timesteps)
            for one in step.neighbours[:neighbours]
        ],
        1,
    )
    likely = (-implied.double().square().sum((2, 3, 4)) / 2).softmax(1).float()

    def losses(predicted: Tensor, rows: slice) -> Tensor:
        return (likely[rows] * (predicted[:, None] - implied[rows]).square().mean((2, 3, 4))).sum(1)

    forget = step.gradient("forget", noisy, batch.timesteps, losses)
    remember = step.error_gradient("remember", step.remember, step.remember.noise)
    step.watch(forget, remember)
    return share * forget + (1 - share) * remember
