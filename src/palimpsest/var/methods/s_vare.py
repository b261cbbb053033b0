"""S-VARE as its authors released it (Zhong et al. 2026): filtered cross-entropy and preservation, step after step.

Every iteration is two steps of the optimiser on one batch of pairs, so two of the engine's: the first along L_FCE, the
second along lambda L_Pre, the divergence from what the pretrained network says of the safe prompt *with guidance*. In
both a tenth of the rows loses its text, and so trains the network without one. The release's stochastic depth is left
out: the networks here have none.
"""

from torch import Tensor

from palimpsest.options import Share, Size
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.token_losses import divergences, dropped, token_errors


def direction(step: Step, *, threshold: Share = 0.25, weight: Size = 0.5, drop: Share = 0.1) -> Tensor:
    """The gradient of L_FCE in even steps, of weight L_Pre on the same batch in odd ones.

    threshold: as `vare_filtered` has it; weight: lambda, without unit; drop: the share of rows without a text.
    Defaults: the release's. Give an even number of steps.
    """
    if step.index % 2 == 0:
        step.memory["pairs"] = pairs = step.forget
        losses = token_errors(step, pairs.tokens, threshold=threshold)
        return step.gradients_at({"forget": losses}, pairs.asked, pairs.inputs, *dropped(step, drop))[0]
    pairs = step.memory["pairs"]
    losses = divergences(pairs.guided)
    found = step.gradients_at({"remember": losses}, pairs.safe, pairs.inputs, *dropped(step, drop))[0]
    return found.mul_(weight)
