"""Forgetting in a model that predicts velocities along straight paths (flow matching, as Stable Diffusion 3).

At the noise level s in (0, 1] a picture is x_s = (1 - s) x_0 + s eps, and the network predicts v = eps - x_0. As for a
model that predicts noise, the input stays the noised target and only what should be predicted there changes: the
velocity that would have led from the surrogate to it. Pictures, noise and velocities are (n, c, h, w), of latents the
posterior's mean; levels are (n,).
"""

from typing import Literal

from torch import Tensor

from palimpsest.unlearning.engine import Batch, Step
from palimpsest.unlearning.losses import squared_errors
from palimpsest.unlearning.projection import Projection, combined

Form = Literal["clean", "velocity"]
SMALLEST = 0.02  # levels below it are taken as this one where something is divided by them


def noise_levels(timesteps: Tensor, count: int) -> Tensor:
    """Levels (n,) of the engine's timesteps in [0, count): from 1 / count to 1, evenly."""
    return (timesteps + 1) / count


def mixed(images: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
    """x_s = (1 - s) x_0 + s eps."""
    share = levels.view(-1, 1, 1, 1)
    return (1 - share) * images + share * noise


def surrogate_velocity(
    images: Tensor, noise: Tensor, surrogate: Tensor, levels: Tensor, smallest: float = SMALLEST
) -> Tensor:
    """The velocity from the surrogate to the noised target: (x_s - x~) / s = (eps - x) + (x - x~) / s.

    The level in the divisor is at least `smallest`: at clean inputs the quotient would grow without bound.
    """
    return noise - images + (images - surrogate) / levels.clamp(min=smallest).view(-1, 1, 1, 1)


def clean_estimate(noisy: Tensor, velocity: Tensor, levels: Tensor) -> Tensor:
    """The picture that a velocity at x_s points back to: x_s - s v."""
    return noisy - levels.view(-1, 1, 1, 1) * velocity


def direction(
    step: Step,
    *,
    form: Form = "clean",
    power: float = 1.0,
    smallest: float = SMALLEST,
    projection: Projection = "forget",
) -> Tensor:
    """The sum of both weighted gradients, to descend along; the forget loss is weighted s^power, the other 1 - s^power.

    form: "clean" compares x_s - s v with the surrogate, which nothing blows up; "velocity" compares v with the
    surrogate's, s^-2 times as much. power: without unit; smallest: a level. Defaults are ours: the paper gives none for
    this model. Raises ValueError for another form or projection, and where the network predicts noise.
    """
    if step.context.alphas_cumprod is not None:
        raise ValueError("flow_matching is for a network that predicts velocities; this one has a schedule of noise")
    if form not in ("clean", "velocity"):
        raise ValueError(f"form is {form!r}: give clean or velocity")
    remember = gradient(step, "remember", step.remember, step.remember.images, form, smallest, lambda s: 1 - s**power)
    forget = gradient(step, "forget", step.forget, step.surrogate, form, smallest, lambda s: s**power)
    step.watch(forget, remember)
    return combined(forget, remember, projection)


def gradient(step: Step, name: str, batch: Batch, wanted: Tensor, form: Form, smallest: float, weight) -> Tensor:
    """Flat gradient of the weighted error at the batch's noised pictures; wanted: the pictures to be found there."""
    levels = noise_levels(batch.timesteps, step.context.timesteps)
    noisy, weights = mixed(batch.images, batch.noise, levels), weight(levels)
    if form == "velocity":
        losses = squared_errors(surrogate_velocity(batch.images, batch.noise, wanted, levels, smallest), weights)
    else:

        def losses(predicted: Tensor, rows: slice) -> Tensor:
            errors = (clean_estimate(noisy[rows], predicted, levels[rows]) - wanted[rows]).square().mean((1, 2, 3))
            return weights[rows] * errors

    return step.gradient(name, noisy, batch.timesteps, losses, batch.conditions)
