"""EraseDiff in its bilevel form (Wu et al. 2025), solved with a value function (BOME, Liu et al. 2022).

Minimise L_r subject to q = L_f(theta) - L_f(phi) <= 0, phi being `inner_steps` gradient steps on L_f away from theta.
The update is grad L_r + max(0, eta - <grad L_r, grad q> / |grad q|^2) grad q, where grad q = grad L_f(theta) -
grad L_f(phi) (phi is held fixed). The inner steps are plain descent, so no moments of theirs leak into the outer ones.
"""

from palimpsest.instance.engine import Step
from palimpsest.instance.methods.erasediff_port import balance, uniform_noise


def direction(step: Step, *, eta: float = 0.1, inner_steps: int = 2, inner_rate: float = 1e-3, centred: bool = True):
    wanted, values = uniform_noise(step, centred), step.parameters.values
    start = values.clone()
    try:
        for _ in range(inner_steps):
            values.sub_(inner_rate * step.error_gradient("inner", step.forget, wanted))
        reached = step.error_gradient("inner", step.forget, wanted)
    finally:
        values.copy_(start)
    forget = step.error_gradient("forget", step.forget, wanted) - reached
    remember = step.error_gradient("remember", step.remember, step.remember.noise)
    step.watch(forget, remember)
    return remember + balance(remember, forget, eta) * forget
