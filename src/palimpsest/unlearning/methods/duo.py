"""Direct unlearning optimisation (Park et al. 2024): prefer the repaired picture to the wrong one.

-log sigmoid(-beta [(l(x+) - l_0(x+)) - (l(x-) - l_0(x-))]), where l is a picture's denoising loss, l_0 the frozen
network's, x- the target and x+ its surrogate at the same noise and timestep; and `keep` times the squared change of the
prediction at pure noise. The gradient of the first is that of l(x+) - l(x-), weighted by beta sigmoid(beta [...]).
"""

import torch
from torch import Tensor

from palimpsest.models.forward_process import add_noise
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.losses import squared_errors


def direction(step: Step, *, beta: float = 500.0, keep: float = 1.0) -> Tensor:
    """The gradient of the preference loss plus `keep` times that of the change at pure noise, to descend along.

    Needs a surrogate. beta: how sharply preferences count, in units of one over a mean squared error of noise; keep:
    without unit. Defaults: 500 is of the order of the paper's, which divides sums over pixels; keep is ours.
    """
    batch, alphas = step.forget, step.alphas_cumprod
    times, wanted = batch.timesteps.repeat(2), batch.noise.repeat(2, 1, 1, 1)
    noisy = add_noise(torch.cat([step.surrogate, batch.images]), wanted, alphas, times)
    with torch.no_grad():
        now, before = (
            (step.predict(network, noisy, times) - wanted).square().mean((1, 2, 3))
            for network in (step.network, step.frozen)
        )
        better, worse = (now - before).chunk(2)
        weights = beta * torch.sigmoid(beta * (better - worse))
        last = torch.full_like(batch.timesteps, len(alphas) - 1)
        kept = step.predict(step.frozen, batch.noise, last)
    # The mean runs over pairs, the batch holds both of each.
    forget = step.gradient("forget", noisy, times, squared_errors(wanted, 2 * torch.cat([weights, -weights])))
    remember = step.gradient("remember", batch.noise, last, squared_errors(kept))
    step.watch(forget, remember)
    return forget + keep * remember
