"""VARE on the tokens that the concept's word decides: a filter by contrast in place of one by loss.

A token counts where the pretrained network, given the same tokens before, says something else of it for the concept's
prompt than for the safe one. What is merely hard to say does not.
"""

from torch import Tensor

from palimpsest.options import Size
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.token_losses import Divisor, divergence, token_errors


def direction(step: Step, *, contrast: Size = 0.05, divisor: Divisor = "kept") -> Tensor:
    """The gradient of the cross-entropy of the safe tokens that differ, given the concept's prompt.

    contrast: the least mean divergence of a token's symbols, safe prompt to concept's, in nats. Default: ours.
    """
    pairs, inputs = step.forget, step.forget.inputs
    concept = step.outputs(step.frozen, pairs.asked, inputs)
    # `divergence` is over the number of values, this is not.
    differ = pairs.plain.shape[-1] * divergence(pairs.plain.float().log_softmax(-1), concept).mean(2)
    losses = token_errors(step, pairs.tokens, divisor=divisor, keep=differ >= contrast)
    return step.gradients_at({"forget": losses}, pairs.asked, inputs)[0]
