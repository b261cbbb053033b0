"""Saliency unlearning (Fan et al. 2024): only the weights that matter for the concept are trained.

They are those with the greatest |g|, where g sums gradients of -|noise - guided prediction|^2 over noised pictures of
the concept, with their signs as in the release. They descend along |eps(x_t, c) - sg eps(x_t, c')|^2 + alpha L_r: c' is
a picture's prompt without the concept, L_r the denoising loss of other pictures. The rest stays as it is to the last
bit, as long as the optimiser decays no weights.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from palimpsest.options import Positive, Share, Size
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.pairs import toward_anchors
from palimpsest.unlearning.saliency import forget_batches, top


def direction(
    step: Step, *, share: Share = 0.5, alpha: Size = 0.1, guidance: Size = 7.5, batches: Positive | None = None
) -> Tensor:
    """The masked gradient of the forget loss plus `alpha` times that of the remember loss, to descend along.

    Needs conditioning with anchors, and targets whose conditions are rows of the concept's. share: of the trained
    weights that the mask keeps; alpha: without unit; guidance: w of the prediction (1 + w) eps(c) - w eps(none) that
    the mask is made with; batches: of how many batches, of as many as have each target once if None. Defaults: the
    release's, whose published commands have an alpha of 0.5 too.
    """
    if "mask" not in step.memory:
        step.memory["mask"] = top(summed_gradient(step, guidance, batches).abs(), share)
    forget = toward_anchors(step)
    remember = step.error_gradient("remember", step.remember, step.remember.noise)
    step.watch(forget, remember)
    return (forget + alpha * remember) * step.memory["mask"]


def summed_gradient(step: Step, guidance: float, batches: int | None) -> Tensor:
    """The flat gradient of -|noise - guided prediction|^2, summed over batches of targets."""
    asked = replace(step, network=Guided(step.network, step.conditioning.none, 1 + guidance))
    total = torch.zeros_like(step.parameters.values)
    for batch in forget_batches(step, batches):
        total -= asked.error_gradient("saliency", batch, batch.noise)
    return total


class Guided(nn.Module):
    """A network whose prediction is the guided one, with a gradient through both that it is made of."""

    def __init__(self, network: nn.Module, none: Tensor, scale: float):
        super().__init__()
        self.network, self.none, self.scale = network, none, scale

    def forward(self, noisy: Tensor, timesteps: Tensor, conditions: Tensor) -> Tensor:
        """Guided noise (n, c, h, w)."""
        none = self.none.expand(len(noisy), *self.none.shape)
        conditional, unconditional = (self.network(noisy, timesteps, each) for each in (conditions, none))
        return unconditional + self.scale * (conditional - unconditional)
