"""VARE with the filtered cross-entropy of S-VARE (Zhong et al. 2026, L_FCE), and nothing that preserves.

Tokens that are said well enough already do not count.
"""

from torch import Tensor

from palimpsest.options import Share
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.token_losses import Divisor, token_errors


def direction(step: Step, *, threshold: Share = 0.25, divisor: Divisor = "all") -> Tensor:
    """The gradient of the cross-entropy of the safe tokens that are wrong enough, given the concept's prompt.

    threshold: the least share of a token's symbols that have less than half of the probability; divisor: of the sum
    over tokens. Defaults: the release's.
    """
    pairs, settings = step.forget, {"threshold": threshold, "divisor": divisor}
    return step.gradients_at({"forget": token_errors(step, pairs.tokens, **settings)}, pairs.asked, pairs.inputs)[0]
