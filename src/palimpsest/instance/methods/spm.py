"""Semi-permeable membranes (Lyu et al. 2024), which erase a prompt with rank-one adapters: here a class.

ESD's loss on the class, and `anchor` times the squared change of the prediction for other classes.
"""

import torch

from palimpsest.instance.engine import Step, squared_errors
from palimpsest.instance.methods.esd import CLASSES, away_from_class


def direction(
    step: Step,
    *,
    eta: float = 1.0,
    anchor: float = 1000.0,
    guidance: float = 3.0,
    sampling_steps: int = 20,
    paths: int = 32,
):
    noisy, times, wanted = away_from_class(step, eta, guidance, sampling_steps, paths)
    forget = step.gradient("forget", noisy, times, squared_errors(wanted))
    others = [label for label in range(step.frozen.unconditional) if label != step.frozen.label]
    picks = step.random(CLASSES).choice(others, step.size)[step.places]
    labels = torch.from_numpy(picks).to(times.device)
    with torch.no_grad():
        kept = step.predict(step.frozen, noisy, times, labels)
    remember = step.gradient("remember", noisy, times, squared_errors(kept), labels)
    step.watch(forget, remember)
    return forget + anchor * remember
