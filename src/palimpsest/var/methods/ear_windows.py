"""EAR (Fan et al. 2025), which erases from a model of tokens in windows: each is a step of the optimiser, or none.

In the window the concept's prompt, where it draws its own tokens, should say what the safe one says at its tokens, and
as far again away from the concept: z_0(safe) - eta (z_0(concept) - z_0(safe)). A window that is close to that already
is passed over, so that what has nothing to do with the concept stays. A picture's windows follow each other, before the
next pictures come: give a multiple of their number of steps. The source compares hidden states; here they are logits,
which one matrix makes of hidden states, and a window is a scale, in which all tokens are drawn at once.
"""

import torch
from torch import Tensor

from palimpsest.models.scales import spans
from palimpsest.options import Count, Size
from palimpsest.unlearning.engine import Step
from palimpsest.unlearning.token_losses import Losses


def direction(step: Step, *, eta: Size = 1.0, window: Count = 0, threshold: Size = 0.001) -> Tensor:
    """The gradient of the squared error of a window's logits, of the rows in which it is not passed over.

    eta: how far away, in units of the distance of the concept's logits to the safe ones; window: how many tokens it
    has; 0 is a scale. threshold: a window's mean squared error that is passed over. Logged is the share of rows that is
    kept. Defaults: the source's, whose threshold, for hidden states, is a sum of .05 over 48 tokens.
    """
    windows, memory = windows_of(step.forget.quantiser.sizes, window), step.memory
    if (number := step.index % len(windows)) == 0:
        memory["pairs"] = pairs = step.forget
        concept = step.outputs(step.frozen, pairs.asked, pairs.own_inputs)
        safe = step.outputs(step.frozen, pairs.safe, pairs.inputs)
        memory["wanted"] = safe - eta * (concept - safe)
    pairs = memory["pairs"]
    losses = window_errors(step, memory["wanted"], windows[number], threshold)
    return step.gradients_at({"forget": losses}, pairs.asked, pairs.own_inputs)[0]


def windows_of(sizes: tuple[int, ...], window: int) -> list[slice]:
    """Where the windows of so many tokens stand in the row of all; each scale, for 0."""
    if not window:
        return spans(sizes)
    count = sum(side * side for side in sizes)
    return [slice(start, min(start + window, count)) for start in range(0, count, window)]


def window_errors(step: Step, wanted: Tensor, window: slice, threshold: float) -> Losses:
    """The mean squared error of a window's logits to those wanted (n, L, symbols, values), 0 up to the threshold."""
    kept = torch.zeros(len(wanted), device=wanted.device)

    def losses(logits: Tensor, rows: slice) -> Tensor:
        found = (logits[:, window] - wanted[rows, window]).square().mean((1, 2, 3))
        kept[rows] = (found.detach() > threshold).float()
        if rows.stop >= len(kept):  # the batch's last part
            step.seen["kept"] = float(kept.mean())
        return found * kept[rows]

    return losses
