"""AdamW (Loshchilov and Hutter 2019) of one vector of parameters."""

import torch
from torch import Tensor

EPSILON = 1e-8  # the least that a mean of gradients is divided by


class AdamW:
    """`torch.optim.AdamW([vector], ..., fused=True)` to the last bit, by the kernel that it calls.

    torch.optim itself first loads torch's compiler, which takes longer than a short training of a small network.
    values: a vector, changed in place.
    """

    def __init__(self, values: Tensor, betas: tuple[float, float], weight_decay: float):
        self.values, self.betas, self.weight_decay = values, betas, weight_decay
        self.mean, self.square = torch.zeros_like(values), torch.zeros_like(values)
        self.count = torch.zeros((), device=values.device)

    def farthest(self, learning_rate: float, longest: float, highest: float) -> float:
        """How far from zero a step can take a value, at most.

        longest: of the gradients so far, which no mean of them is greater than; highest: of the values' magnitudes.
        """
        return highest + learning_rate * (longest / EPSILON + self.weight_decay * highest)

    @torch.no_grad()
    def step(self, gradient: Tensor, learning_rate: float) -> None:
        """One step against the gradient."""
        self.count += 1
        torch._fused_adamw_(
            [self.values],
            [gradient],
            [self.mean],
            [self.square],
            [],
            [self.count],
            lr=learning_rate,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=self.weight_decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )
