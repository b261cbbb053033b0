"""EraseDiff in its bilevel form (Wu et al. 2025), solved with a value function (BOME, Liu et al. 2022).

Minimise L_r subject to q = L_f(theta) - L_f(phi) <= 0, phi being `inner_steps` steps of a fresh Adam on L_f away from
theta. phi is held fixed, so that grad q is the gradient of L_f at theta alone, and the update is
grad L_r + max(0, (barrier - <grad L_r, grad q>) / |grad q|^2) grad q. BOME has two barriers: eta |grad q|^2, which
EraseDiff takes ("gradient"), and eta q ("value"). With the first the inner problem does not enter the update, which is
the port's then, and nothing is computed for it; with the second the push follows how much phi improves the forget loss.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.methods.erasediff_port import balance, uniform_noise


def direction(
    step: Step,
    *,
    eta: float = 0.1,
    barrier: Literal["gradient", "value"] = "gradient",
    inner_steps: int = 2,
    inner_rate: float = 1e-4,
    centred: bool = True,
) -> Tensor:
    """grad L_r + max(0, (barrier - <grad L_r, grad q>) / |grad q|^2) grad q, to descend along.

    eta: the barrier in units of |grad q|^2, or of q. inner_steps, inner_rate: how many steps of Adam and their learning
    rate; the "value" barrier takes them. centred: uniform noise of mean zero. Defaults: the released DDPM script's (eta
    0.1, two inner steps at 1e-4), but for `centred`, which is ours: the script draws from [0, 1). Logged as `gap`: q.
    """
    if barrier not in ("gradient", "value"):
        raise ValueError(f"barrier is {barrier!r}: give gradient or value")
    wanted = uniform_noise(step, centred)
    reached = loss_after_adam(step, wanted, inner_steps, inner_rate) if barrier == "value" else None
    forget = step.error_gradient("forget", step.forget, wanted)
    remember = step.error_gradient("remember", step.remember, step.remember.noise)
    step.watch(forget, remember)
    if reached is not None:
        step.seen["gap"] = step.seen["forget_loss"] - reached
        squared = float(forget.double() @ forget.double())
        eta = eta * step.seen["gap"] / squared if squared > 0 else 0.0
    return remember + balance(remember, forget, eta) * forget


def loss_after_adam(step: Step, wanted: Tensor, steps: int, rate: float) -> float:
    """L_f(phi): the forget loss after so many steps of a fresh Adam on it; the network is put back."""
    values = step.parameters.values
    start, vector = values.clone(), nn.Parameter(values)
    optimiser = torch.optim.Adam([vector], rate)
    try:
        for _ in range(steps):
            vector.grad = step.error_gradient("inner", step.forget, wanted)
            optimiser.step()
        return step.error(step.forget, wanted)
    finally:
        values.copy_(start)
