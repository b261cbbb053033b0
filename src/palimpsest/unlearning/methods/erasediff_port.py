"""EraseDiff as other papers run it: no inner problem (the port in the SISS code, after Wu et al. 2025).

The target's prediction is pushed to uniform noise; the forget gradient's weight is what the update needs so as not to
raise the remember loss: G = G_r + max(0, eta - <G_r, G_f> / |G_f|^2) G_f. The port draws the noise from [0, 1), whose
mean is not zero; `centred` draws it from [-1/2, 1/2).
"""

import numpy as np
import torch
from torch import Tensor

from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.streams import Stream


def direction(step: Step, *, eta: float = 1e-3, centred: bool = False) -> Tensor:
    """G_r + max(0, eta - <G_r, G_f> / |G_f|^2) G_f, to descend along.

    G_f is the gradient of the distance to uniform noise, so it is descended too. eta: the least rate at which the
    forget loss falls, as a share of |G_f|^2. Defaults: those of the port in the SISS code.
    """
    remember = step.error_gradient("remember", step.remember, step.remember.noise)
    forget = step.error_gradient("forget", step.forget, uniform_noise(step, centred))
    step.watch(forget, remember)
    return remember + balance(remember, forget, eta) * forget


def uniform_noise(step: Step, centred: bool) -> Tensor:
    """Uniform noise of the forget batch's shape, independent of the noise that its images have."""
    whole = step.random(Stream.UNIFORM).random((step.size, *step.forget.noise.shape[1:]), np.float32)
    uniform = torch.from_numpy(whole[step.places]).to(step.forget.noise.device)
    return uniform - 0.5 if centred else uniform


def balance(remember: Tensor, forget: Tensor, eta: float) -> float:
    """max(0, eta - <G_r, G_f> / |G_f|^2)."""
    length = float(forget.double() @ forget.double())
    return max(0.0, eta - float(remember.double() @ forget.double()) / length) if length > 0 else 0.0
