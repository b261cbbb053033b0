"""VARE with the filtered cross-entropy of S-VARE (Zhong et al. 2026, L_FCE), and nothing that preserves.

Tokens that are said well enough already do not count.
"""

from torch import Tensor

from palimpsest.options import Share
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.token_losses import ByScale, Divisor, token_errors, token_weights


def direction(
    step: Step, *, threshold: Share = 0.25, divisor: Divisor = "all", scale_weights: ByScale = "equal"
) -> Tensor:
    """The gradient of the cross-entropy of the safe tokens that are wrong enough, given the concept's prompt.

    threshold: the least share of a token's symbols that have less than half of the probability; divisor: of the sum
    over tokens; scale_weights: how they count by their scales (`token_weights`). Defaults: the release's.
    """
    pairs, weights = step.forget, token_weights(step, scale_weights)
    losses = token_errors(step, pairs.tokens, threshold=threshold, divisor=divisor, weights=weights)
    return step.gradients_at({"forget": losses}, pairs.asked, pairs.inputs)[0]
