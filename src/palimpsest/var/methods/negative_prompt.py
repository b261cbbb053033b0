"""A negative prompt for every picture: guidance leads away from the concept, where it led away from no text.

Guidance draws from z_none + w (z - z_none); "none" is a text that the model has learned (`condition.none`), and becomes
what the text encoder makes of the concept's own prompt. One tensor changes, nothing is trained, and where there is no
guidance nothing happens. From a true negative prompt (`roll_out` with `against`) it differs in the mask of known words:
the learned text has as many words as the prompt that is asked, so that of a shorter prompt the concept's is cut off,
and of a longer one what pads the concept's is read too. With equal lengths both are the same. Of a model of classes
the class that stands for none becomes the concept's.
"""

import torch

from palimpsest.models.next_scale import ClassCondition
from palimpsest.models.var import NextScale
from palimpsest.unlearning.context import Context


@torch.no_grad()
def edit(network: NextScale, context: Context) -> list[dict]:
    """Replace the text of none in place by the first of the concept's bare prompts; the log has one row, how far.

    Needs conditioning. Nothing is to be chosen: how strongly pictures are led away says the guidance.
    """
    concept, condition = context.part("conditioning").bare[:1], network.transformer.condition
    if isinstance(condition, ClassCondition):
        none, becomes = condition.embedding.weight[condition.classes], condition.embedding(concept)[0]
    else:
        none, becomes = condition.none, network.embed(concept)[0][0]
    moved = float((becomes - none).norm() / none.norm())
    none.copy_(becomes)
    return [{"step": 0, "moved": moved}]
