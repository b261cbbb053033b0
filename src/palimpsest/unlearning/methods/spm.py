"""Semi-permeable membranes (Lyu et al. 2024), which erase a concept with rank-one adapters: a prompt, or a class.

ESD's loss on the concept, and `anchor` times the squared change of the prediction for other concepts.
"""

import torch
from torch import Tensor

from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.losses import squared_errors
from palimpsest.unlearning.methods.esd import away_from_concept, rows
from palimpsest.unlearning.streams import Stream


def direction(
    step: Step,
    *,
    eta: float = 1.0,
    anchor: float = 1000.0,
    guidance: float = 3.0,
    sampling_steps: int = 20,
    paths: int = 32,
) -> Tensor:
    """ESD's gradient plus `anchor` times that of the change for other concepts, to descend along.

    Needs conditioning with others. anchor: without unit; its default is the released code's, the others are ESD's.
    """
    noisy, times, wanted = away_from_concept(step, eta, guidance, sampling_steps, paths)
    conditioning = step.conditioning
    forget = step.gradient("forget", noisy, times, squared_errors(wanted), rows(conditioning.concept, len(times)))
    picks = step.random(Stream.CONDITIONS).choice(len(conditioning.others), step.size)[step.places]
    others = conditioning.others[torch.from_numpy(picks)]
    with torch.no_grad():
        kept = step.predict(step.frozen, noisy, times, others)
    remember = step.gradient("remember", noisy, times, squared_errors(kept), others)
    step.watch(forget, remember)
    return forget + anchor * remember
