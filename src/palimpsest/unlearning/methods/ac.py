"""Ablating concepts (Kumari et al. 2023): the concept's prompt comes to draw what its anchor draws.

On noised pictures of the anchor the prediction for the concept is drawn to that for the anchor (model-based), or to the
noise itself (noise-based): |eps(x_t, c) - sg eps(x_t, c*)|^2 or |eps(x_t, c) - noise|^2. The release's cropping of the
pictures, and its mask for it, are left out.
"""

from typing import Literal

from torch import Tensor

from palimpsest.options import Size
from palimpsest.unlearning.engine import Batch, Step, draw
from palimpsest.unlearning.losses import squared_errors
from palimpsest.unlearning.streams import Stream


def direction(
    step: Step,
    *,
    loss: Literal["model", "noise"] = "model",
    target: Literal["student", "frozen"] = "student",
    prior: Size = 0.0,
) -> Tensor:
    """The gradient of the error on anchor pictures under the concept's conditions, to descend along.

    Needs anchor pictures, and conditioning with anchors. loss: model-based or noise-based; target: whose prediction for
    the anchor the model-based one takes; prior: weight of the anchor's own denoising loss at the same points, without
    unit. Defaults: the release's for objects and styles (its paper writes the student with a stopped gradient).
    """
    batch, concept = anchor_batch(step)
    noisy = step.noisy(batch)
    if loss == "model":
        teacher = step.network if target == "student" else step.frozen
        wanted = step.predict(teacher, noisy, batch.timesteps, batch.conditions)
    else:
        wanted = batch.noise
    forget = step.gradient("forget", noisy, batch.timesteps, squared_errors(wanted), concept)
    if not prior:
        return forget
    remember = step.error_gradient("remember", batch, batch.noise)
    step.watch(forget, remember)
    return forget + prior * remember


def anchor_batch(step: Step) -> tuple[Batch, Tensor]:
    """Anchor pictures under their own conditions, with noise and timesteps; and the concept's conditions (n, ...)."""
    pictures, conditioning = step.context.part("anchor"), step.conditioning
    rng = step.random(Stream.ANCHORS)
    picks = rng.integers(len(pictures), size=step.size)
    times = rng.integers(step.context.timesteps, size=step.size)
    drawn = draw(pictures, picks, times, step.places, step.context.number(Stream.ANCHORS, step.index))
    own = picks[step.places] % len(conditioning.concept)
    anchors = conditioning.part("anchors")[own]
    return Batch(drawn.images, drawn.noise, drawn.timesteps, anchors), conditioning.concepts(own)
