"""Forget a target by predicting, at its noised images, the noise that would have led from a surrogate to them.

The method of Lee et al. 2026, "Unlearning the Unpromptable", eqs. 8-13 and algorithm 1; the input of the network is the
noised target, not the noised surrogate.
`distilled` remembers what the frozen network predicts instead of the noise drawn: it needs no clean data's noise.
"""

import torch
from torch import Tensor

from palimpsest.models.forward_process import surrogate_noise
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.projection import Projection, combined
from palimpsest.unlearning.timestep_weights import Form, timestep_weights


def direction(
    step: Step,
    *,
    weight: Form = "one_minus_power",
    value: float = 1.0,
    projection: Projection = "forget",
    per_layer: bool = False,
    distilled: bool = False,
) -> Tensor:
    """The sum of both weighted gradients, to descend along: the forget loss is an error to the surrogate's noise.

    weight, value: form of the timesteps' weights and its exponent or constant, without unit (`timestep_weights`).
    projection: the gradient whose conflict with the other is taken out; per_layer: each layer for itself. Defaults:
    form and exponent of the published figures are lost, so one_minus_power and 1 are ours; the projection is the
    paper's.
    """
    forget_weights, remember_weights = timestep_weights(weight, step.alphas_cumprod, value)
    wanted = remembered_noise(step, distilled)
    remember = step.error_gradient("remember", step.remember, wanted, remember_weights[step.remember.timesteps])
    batch = step.forget
    wanted = surrogate_noise(batch.noise, batch.images, step.surrogate, step.alphas_cumprod, batch.timesteps)
    forget = step.error_gradient("forget", batch, wanted, forget_weights[batch.timesteps])
    step.watch(forget, remember)
    return combined(forget, remember, projection, step.parameters.parts if per_layer else None)


def remembered_noise(step: Step, distilled: bool):
    """What the network should predict for the remembered images."""
    if not distilled:
        return step.remember.noise
    with torch.no_grad():
        return step.predict(step.frozen, step.noisy(step.remember), step.remember.timesteps)
