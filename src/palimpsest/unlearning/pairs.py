"""What a picture's prompt becomes without the concept, and the loss that leads the one prompt to the other."""

from torch import Tensor

from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.losses import squared_errors


def anchor_conditions(step: Step) -> Tensor:
    """The forget batch's conditions without the concept (n, ...).

    Each is the anchor of the concept's row that it is equal to. Raises ValueError where there is none.
    """
    conditioning = step.conditioning
    rows = conditioning.rows_of(step.forget.conditions)
    return conditioning.part("anchors")[rows]


def toward_anchors(step: Step) -> Tensor:
    """The gradient of |eps(x_t, c) - sg eps(x_t, c')|^2 on the forget batch, logged as the forget loss.

    c is a picture's prompt, c' the same without the concept; both predictions are the student's.
    """
    batch, anchors = step.forget, anchor_conditions(step)
    noisy = step.noisy(batch)
    wanted = step.predict(step.network, noisy, batch.timesteps, anchors)
    return step.gradient("forget", noisy, batch.timesteps, squared_errors(wanted), batch.conditions)
