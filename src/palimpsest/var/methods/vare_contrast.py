"""VARE on the tokens that the concept's word decides: a filter by contrast in place of one by loss.

A token counts where the pretrained network, given the same tokens before, says something else of it for the concept's
prompt than for the safe one. What is merely hard to say does not.
"""

from torch import Tensor

from palimpsest.options import Size
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.token_losses import Divisor, contrasts, token_errors


def direction(step: Step, *, contrast: Size = 0.05, divisor: Divisor = "kept") -> Tensor:
    """The gradient of the cross-entropy of the safe tokens that differ, given the concept's prompt.

    contrast: the least of a token that is kept, in nats (`contrasts`); divisor: as `vare_filtered` has it. Default of
    contrast: ours.
    """
    pairs = step.forget
    losses = token_errors(step, pairs.tokens, divisor=divisor, keep=contrasts(step) >= contrast)
    return step.gradients_at({"forget": losses}, pairs.asked, pairs.inputs)[0]
