"""Forget-Me-Not (Zhang et al. 2024): attention re-steering, away from the tokens that name the concept.

On noised pictures of the concept, the loss is the Frobenius norm of the attention probabilities that the places of a
picture pay to those tokens, in all cross-attention layers and heads: not squared, and of each picture by itself, as in
the release, whose batch is one. Each place pays 1 in all, so that attention only moves to the prompt's other tokens.
The release's textual inversion before the edit is left out.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from palimpsest.models.prompts import end_of_text
from palimpsest.unlearning.context import Conditioning
from palimpsest.unlearning.engine import Step


def direction(step: Step, *, end: bool = False) -> Tensor:
    """The gradient of the attention paid to the concept's tokens, to descend along.

    Needs conditioning with named tokens, and targets whose conditions are rows of the concept's. end: the end-of-text
    token is one of them. Default: the release's for a concept of known words.
    """
    batch = step.forget
    tokens = steered_tokens(batch.conditions, step.conditioning, end)
    with recorded_attention(step.network.unet) as found:
        return step.gradient("forget", step.noisy(batch), batch.timesteps, paid(found, tokens), batch.conditions)


def steered_tokens(ids: Tensor | None, conditioning: Conditioning, end: bool) -> Tensor:
    """Which tokens of the targets' prompts (n, length) attention is led away from, bool."""
    named = conditioning.part("named")
    tokens = named[conditioning.rows_of(ids)].clone()
    if end:
        tokens[torch.arange(len(ids), device=ids.device), end_of_text(ids)] = True
    return tokens


def paid(found: dict[str, Tensor], tokens: Tensor) -> Callable[[Tensor, slice], Tensor]:
    """Losses as `Step.gradient` takes them, of the attention that the forward just done has recorded."""

    def losses(predicted: Tensor, rows: slice) -> Tensor:
        chosen = tokens[rows, None, None, :]
        parts = [(each.float().unflatten(0, (len(predicted), -1)) * chosen).flatten(1) for each in found.values()]
        return torch.linalg.vector_norm(torch.cat(parts, 1), dim=1)

    return losses


@contextmanager
def recorded_attention(unet: nn.Module) -> Iterator[dict[str, Tensor]]:
    """While it is open, each forward leaves its cross-attention probabilities (n * heads, places, tokens) by layer.

    Fused attention, which never has them, is replaced so long.
    """
    layers = {name: module for name, module in unet.named_modules() if name.endswith("attn2")}
    before, found = {name: layer.processor for name, layer in layers.items()}, {}

    def recording(name: str, layer: nn.Module) -> Callable[..., Tensor]:
        scores = layer.get_attention_scores

        def recorded(*given) -> Tensor:
            found[name] = scores(*given)
            return found[name]

        return recorded

    try:
        for name, layer in layers.items():
            layer.set_processor(AttnProcessor())
            layer.get_attention_scores = recording(name, layer)
        yield found
    finally:
        for name, layer in layers.items():
            layer.set_processor(before[name])
            del layer.get_attention_scores
