"""Erased Stable Diffusion (Gandikota et al. 2023) on logits: the concept's prompt is led away from itself.

Its logits should become z_0(none) - eta (z_0(concept) - z_0(none)) of the pretrained network, at the tokens that the
concept's prompt draws (naive) or at the safe ones (on VARE).
"""

from typing import Literal

import torch
from torch import Tensor

from palimpsest.options import Size
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.token_losses import divergences


def direction(step: Step, *, eta: Size = 1.0, context: Literal["own", "safe"] = "own") -> Tensor:
    """The gradient of the divergence from those logits to the concept's.

    eta: how far away, in units of the distance of the concept's logits to those of no text; context: whose tokens.
    Default of eta: the first release's.
    """
    inputs = step.forget.own_inputs if context == "own" else step.forget.inputs
    losses = divergences(away_from_concept(step, eta, inputs))
    return step.gradients_at({"forget": losses}, step.forget.asked, inputs)[0]


def away_from_concept(step: Step, eta: float, inputs: Tensor) -> Tensor:
    """The logits (n, L, symbols, values) that lead away from the concept's, given what the network is fed.

    They are worked out once for each pair, and kept in the step's memory: the same rollouts are fed in every step.
    """
    known = step.memory.setdefault("away", {})
    if new := {pair: place for place, pair in enumerate(step.targets) if pair not in known}:
        places = list(new.values())
        given = step.forget.asked[places], inputs[places]
        concept = step.outputs(step.frozen, *given)
        none = step.outputs(step.frozen, *given, torch.ones(len(new), dtype=torch.bool, device=inputs.device))
        known.update(zip(new, none - eta * (concept - none), strict=True))
    return torch.stack([known[pair] for pair in step.targets])
