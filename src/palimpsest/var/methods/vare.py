"""VARE (Zhong et al. 2026): the concept's prompt learns the safe tokens, given the safe tokens of the scales before.

The prompt is changed, what the network has drawn so far is not: only tokens that hang on the text have to move.
"""

from torch import Tensor

from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.token_losses import ByScale, token_errors, token_weights


def direction(step: Step, *, scale_weights: ByScale = "equal") -> Tensor:
    """The gradient of the cross-entropy of all safe tokens, given the concept's prompt.

    scale_weights: how tokens count by their scales (`token_weights`). Default: the release's.
    """
    pairs = step.forget
    losses = token_errors(step, pairs.tokens, weights=token_weights(step, scale_weights))
    return step.gradients_at({"forget": losses}, pairs.asked, pairs.inputs)[0]
