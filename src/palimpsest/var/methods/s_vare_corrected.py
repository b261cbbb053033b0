"""S-VARE with its faults mended: one summed loss, a teacher like the student, other prompts, and no lost texts.

The filtered cross-entropy is divided by the number of tokens that it keeps, so that it does not fade as they become
fewer. Both teachers say what the pretrained network says without guidance, as the student does in training. Prompts
that have nothing to do with the pairs hold what these do not show.
"""

from typing import Literal

from torch import Tensor

from palimpsest.options import Share, Size
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.token_losses import (
    ByScale,
    Divisor,
    contrasts,
    divergences,
    dropped,
    token_errors,
    token_weights,
)


def direction(
    step: Step,
    *,
    threshold: Share = 0.25,
    contrast: Size | None = None,
    context: Literal["own", "safe"] = "safe",
    divisor: Divisor = "kept",
    scale_weights: ByScale = "equal",
    pair_weight: Size = 0.5,
    wide_weight: Size = 2.0,
    teacher: Literal["plain", "guided"] = "plain",
    drop: Share = 0.0,
) -> Tensor:
    """The gradient of the filtered cross-entropy and of the divergences on safe prompts and on the others.

    threshold, divisor, scale_weights: as `vare_filtered` has them; pair_weight, wide_weight: of the two divergences,
    without unit. To see what they do: contrast, where one is given, keeps tokens as `vare_contrast` does, in place of
    the threshold; context: whose tokens of the scales before the concept's prompt is given, as in `esd_tokens`;
    teacher, drop: of the pairs' divergence with guidance, and of texts lost at random, as the release has them.
    Defaults: the release's threshold and lambda; the wide weight is ours.
    """
    pairs, others = step.forget, step.remember
    settings = {"threshold": threshold, "divisor": divisor, "weights": token_weights(step, scale_weights)}
    if contrast is not None:
        settings["keep"] = contrasts(step) >= contrast
    inputs = pairs.inputs
    given = inputs if context == "safe" else pairs.own_inputs
    lost = dropped(step, drop)
    found = step.gradients_at({"forget": token_errors(step, pairs.tokens, **settings)}, pairs.asked, given, *lost)[0]
    if pair_weight:
        losses = {"pair": divergences(pairs.plain if teacher == "plain" else pairs.guided)}
        found = found + pair_weight * step.gradients_at(losses, pairs.safe, inputs, *lost)[0]
    if wide_weight:
        held = step.gradients_at({"remember": divergences(others.plain)}, others.safe, others.inputs)[0]
        step.watch(found, held)
        found = found + wide_weight * held
    return found
