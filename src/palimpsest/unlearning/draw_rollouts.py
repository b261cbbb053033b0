"""Draw the rollouts that edits of a next-scale model learn from."""

from collections.abc import Sequence

import torch
from torch import Tensor

from palimpsest.models.batch_sizes import in_parts
from palimpsest.models.var import Var, roll_out
from palimpsest.unlearning.rollouts import Rollouts


@torch.no_grad()
def rolled_out(
    model: Var,
    asked: Tensor,
    safe: Tensor,
    uniform: Tensor,
    *,
    guidance: float | Sequence[float],
    temperature: float = 1.0,
    top_p: float = 0.97,
    top_k: int = 0,
    batch: int = 32,
) -> Rollouts:
    """The rollouts of pairs of conditions (n, ...), both of a pair from the same numbers (n, L, symbols).

    Raises ValueError where the two of a pair do not differ, unless no pair does: then they are single prompts.
    """
    same = (asked == safe).reshape(len(asked), -1).all(1)
    if same.any() and not same.all():
        raise ValueError(f"pair {int(same.int().argmax())} has equal prompts: one has to lack the concept")
    settings = {"guidance": guidance, "temperature": temperature, "top_p": top_p, "top_k": top_k}

    def of(part: slice) -> dict[str, Tensor]:
        drawn = roll_out(model, safe[part], uniform[part], **settings)
        own = drawn if same.all() else roll_out(model, asked[part], uniform[part], **settings)
        plain = model.network(safe[part], drawn.inputs)
        return {"tokens": drawn.symbols, "own": own.symbols, "guided": drawn.logits.half(), "plain": plain.half()}

    parts = in_parts(of, len(asked), batch, "rollouts")
    # Cloned: what is made for inference alone can take no part in a training.
    kept = {name: torch.cat([part[name] for part in parts]).clone() for name in parts[0]}
    return Rollouts(model.visual.quantiser, asked, safe, **kept)
