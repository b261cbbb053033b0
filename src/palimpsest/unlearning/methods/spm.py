"""Semi-permeable membranes (Lyu et al. 2024), which erase a concept with rank-one adapters: prompts, or a class.

ESD's loss on the concept, and `anchor` times the squared change of the prediction for other conditions. The release
draws these at random around the concept's length and accepts each with probability 1 - cosine to the concept, so that
what is like it is free to change; here they are the context's others, chosen so if `permeable`. The adapters are put in
by who calls the engine (`unlearning.adapters`).
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from palimpsest.options import Positive, Size
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.losses import squared_errors
from palimpsest.unlearning.methods.esd import Policy, Start, away_from_concept
from palimpsest.unlearning.streams import Stream


def direction(
    step: Step,
    *,
    eta: float = 1.0,
    anchor: Size = 1000.0,
    permeable: bool = False,
    guidance: Size = 3.0,
    sampling_steps: Positive = 20,
    paths: Positive = 32,
    policy: Policy = "frozen",
    every: Positive = 25,
    start: Start = "none",
) -> Tensor:
    """ESD's gradient plus `anchor` times that of the change for other conditions, to descend along.

    Needs conditioning with others. anchor: without unit; permeable: other prompts are drawn with probability in
    proportion to 1 - cosine of their text embeddings to the concept's, else alike. Defaults of eta, anchor and
    guidance: the release's, which is permeable and samples with the student; the others are ours or ESD's.
    """
    noisy, times, wanted, conditions = away_from_concept(
        step, eta, guidance, sampling_steps, paths, policy=policy, every=every, start=start
    )
    forget = step.gradient("forget", noisy, times, squared_errors(wanted), conditions)
    others = drawn_others(step, permeable)
    with torch.no_grad():
        kept = step.predict(step.frozen, noisy, times, others)
    remember = step.gradient("remember", noisy, times, squared_errors(kept), others)
    step.watch(forget, remember)
    return forget + anchor * remember


def drawn_others(step: Step, permeable: bool) -> Tensor:
    """Conditions of what is to stay, one for each of this process's places."""
    others = step.conditioning.others
    if permeable and "acceptance" not in step.memory:
        step.memory["acceptance"] = acceptance(step)
    shares = step.memory["acceptance"] if permeable else None
    picks = step.random(Stream.CONDITIONS).choice(len(others), step.size, p=shares)[step.places]
    return others[torch.from_numpy(picks)]


@torch.no_grad()
def acceptance(step: Step) -> np.ndarray:
    """How likely each of the other prompts is drawn (m,): 1 - its highest cosine to a prompt of the concept, scaled.

    The cosine is that of the text encoder's outputs for all tokens, end to end. Raises ValueError for a class, and
    where every other prompt is the concept's.
    """
    if not hasattr(step.frozen, "embed"):
        raise ValueError("permeable compares text embeddings, which a network of classes does not have")
    concept, others = (
        F.normalize(step.frozen.embed(ids).flatten(1).double(), dim=1)
        for ids in (step.conditioning.bare, step.conditioning.others)
    )
    free = (1 - (others @ concept.T).amax(1)).clamp(min=0).cpu().numpy()
    if free.sum() == 0:
        raise ValueError("every other prompt is one of the concept's: give others that differ")
    return free / free.sum()
