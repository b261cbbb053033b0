"""EraseDiff for concepts (Wu et al. 2025): remember subject to having forgotten, with a penalty for what is missing.

Minimise L_r subject to q = L_f(theta) - L_f(phi) <= 0. L_r is the denoising loss of other pictures, L_f is
|eps(x_t, c) - sg eps(x_t, c')|^2 on the concept's, c' being a picture's prompt without the concept, and phi what a few
steps on L_f lead to, which is held fixed. The update is grad L_r + lambda grad q, and grad q is grad L_f: phi enters
neither it nor the penalties, and is not computed (`erasediff_bome` has the barrier that it would enter).
"""

from typing import Literal

from torch import Tensor

from palimpsest.options import Size
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.methods.erasediff_port import balance
from palimpsest.unlearning.pairs import toward_anchors


def direction(
    step: Step, *, penalty: Literal["adaptive", "constant"] = "adaptive", eta: Size = 0.1, weight: Size = 1.0
) -> Tensor:
    """grad L_r + lambda grad L_f, to descend along.

    Needs conditioning with anchors, and targets whose conditions are rows of the concept's. penalty: "adaptive", lambda
    = max(0, eta - <grad L_r, grad L_f> / |grad L_f|^2), so that the forget loss falls at a rate of eta |grad L_f|^2 at
    least, or "constant", lambda = weight. Defaults: the paper's penalty, where every published command for text has the
    constant 1; eta is the released DDPM script's. Logged as `penalty`: lambda.
    """
    forget = toward_anchors(step)
    remember = step.error_gradient("remember", step.remember, step.remember.noise)
    step.watch(forget, remember)
    step.seen["penalty"] = balance(remember, forget, eta) if penalty == "adaptive" else weight
    return remember + step.seen["penalty"] * forget
