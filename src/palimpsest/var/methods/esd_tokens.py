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
    pairs = step.forget
    inputs = pairs.own_inputs if context == "own" else pairs.inputs
    every = torch.ones(len(pairs), dtype=torch.bool, device=inputs.device)
    concept = step.outputs(step.frozen, pairs.asked, inputs)
    none = step.outputs(step.frozen, pairs.asked, inputs, every)
    return step.gradients_at({"forget": divergences(none - eta * (concept - none))}, pairs.asked, inputs)[0]
