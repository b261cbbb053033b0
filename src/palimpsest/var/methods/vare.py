"""VARE (Zhong et al. 2026): the concept's prompt learns the safe tokens, given the safe tokens of the scales before.

The prompt is changed, what the network has drawn so far is not: only tokens that hang on the text have to move.
"""

from torch import Tensor

from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.token_losses import token_errors


def direction(step: Step) -> Tensor:
    """The gradient of the cross-entropy of all safe tokens, given the concept's prompt."""
    pairs = step.forget
    return step.gradients_at({"forget": token_errors(step, pairs.tokens)}, pairs.asked, pairs.inputs)[0]
