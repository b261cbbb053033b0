"""Guidance away from the concept at chosen scales, tokens and bits while drawing (`models.steering`); no training.

After ScaleErasure (Wang et al. 2026). It is kept as what the network draws with, not in its weights: whoever has them
can leave it out, and what the network says of given tokens is unchanged.
"""

from palimpsest.models.steering import Steering
from palimpsest.models.var import NextScale
from palimpsest.options import Count, Size
from palimpsest.run import UserError
from palimpsest.unlearning.context import Context


def edit(
    network: NextScale,
    context: Context,
    *,
    strength: Size = 4.0,
    scales: list[Count] | None = None,
    token_divergence: Size = 0.02,
    symbol_divergence: Size = 0.02,
) -> list[dict]:
    """Let the network draw away from the first of the concept's bare prompts; the log has one row.

    Needs conditioning. strength, scales (all, where none are given), token_divergence, symbol_divergence: as `Steering`
    has them. Defaults: ours; the strength is that of the guidance.
    """
    count = len(network.transformer.sizes)
    if wrong := [scale for scale in scales or () if scale >= count]:
        raise UserError(f"method {context.method}: scale {wrong[0]} is none of the {count}, which are 0 to {count - 1}")
    concept = context.part("conditioning").bare[0]
    network.steering = Steering(concept, strength, tuple(scales or ()), token_divergence, symbol_divergence)
    return [{"step": 0, "strength": strength}]
