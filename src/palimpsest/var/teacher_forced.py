"""What a next-scale model says of given tokens, all scales at once."""

import torch
from torch import Tensor

from palimpsest.models.next_scale import symbol_losses
from palimpsest.models.var import Var


@torch.no_grad()
def said(
    model: Var, conditions: Tensor, inputs: Tensor, tokens: Tensor, *, empty: bool = False, batch: int = 32
) -> tuple[Tensor, Tensor]:
    """The loss of each symbol of tokens (n, L, symbols), in nats, and the likeliest symbols.

    inputs (n, L - 1, c): what the transformer is fed; empty: as if there were no text, at the length of the conditions
    (n, ...).
    """
    losses, likeliest = [], []
    for part in torch.arange(len(tokens)).split(batch):
        dropped = torch.ones(len(part), dtype=torch.bool, device=inputs.device) if empty else None
        logits = model.network(conditions[part], inputs[part], dropped)
        losses.append(symbol_losses(logits, tokens[part]))
        likeliest.append(logits.argmax(-1))
    return torch.cat(losses), torch.cat(likeliest)
