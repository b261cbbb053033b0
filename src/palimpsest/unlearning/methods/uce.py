"""Unified concept editing (Gandikota et al. 2024): the cross-attention's keys and values of a concept, in closed form.

Every matrix W of keys and values becomes the one that least changes
erase sum |W' c_i - W a_i|^2 + preserve sum |W' p_j - W p_j|^2 + ridge |W' - W|^2: W' = W B A^-1, where
A = ridge I + erase sum c_i c_i^T + preserve sum p_j p_j^T and B has a_i c_i^T in place of c_i c_i^T. B A^-1 is the same
for every matrix that takes the same. c, a and p are what the matrix takes of the text at tokens of the concept, of the
anchors and of the others: in a diffusion model (attn2.to_k, attn2.to_v) the outputs of the text encoder; in a
next-scale model (text_attention.kv) what a norm and two layers make of these. There the text has a second door, pooled
to the start token and to what modulates the blocks (AdaLN), by which the concept still comes in unless it is closed
too (`pooled`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from palimpsest.models.prompts import end_of_text, last
from palimpsest.models.prompts import words as words_of
from palimpsest.models.text_diffusion import Conditioned
from palimpsest.models.var import NextScale
from palimpsest.options import Amount, Size
from palimpsest.unlearning.context import Conditioning, Context

Words = Literal["last", "all"]
Guide = Literal["anchor", "empty"]


@dataclass(frozen=True)
class Door:
    """A way by which a text reaches a network: what is taken of its embeddings (..., T), and by which matrices."""

    taken: Callable[[Tensor], Tensor]
    matrices: list[tuple[str, nn.Linear]]


@torch.no_grad()
def edit(
    network: Conditioned | NextScale,
    context: Context,
    *,
    erase: Size = 1.0,
    preserve: Size = 1.0,
    ridge: Amount = 0.5,
    words: Words = "last",
    guide: Guide = "anchor",
    pooled: bool = False,
) -> list[dict]:
    """Change the keys and values in place; the log has a row per matrix.

    Needs conditioning with anchors and named tokens. erase, preserve, ridge: weights of the three terms above, of sums
    over tokens. words, guide: at which tokens prompts are read, and what the concept becomes (`contexts`). pooled:
    whether the keys and values by which a next-scale model pools the text are changed too. Defaults: the second
    release's, which knows no pooled text; but its guide is empty for objects, and the word "art" for styles. Logged
    are how far each matrix moved and its mean squared distance from the anchors' keys or values, before and after.
    """
    found, log = contexts(network, context.part("conditioning"), words, guide), []
    for door in doors(network, pooled):
        dtype = door.matrices[0][1].weight.dtype
        concept, anchors, kept = (door.taken(each.to(dtype)).double() for each in found)
        change = transformation(concept, anchors, kept, erase, preserve, ridge)
        for name, module in door.matrices:
            before = module.weight.double()
            after, wanted = before @ change, anchors @ before.T
            distances = [float((concept @ each.T - wanted).square().mean()) for each in (before, after)]
            moved = float((after - before).norm() / before.norm())
            module.weight.copy_(after)
            row = {"step": len(log), "matrix": name, "moved": moved}
            log.append({**row, "loss_before": distances[0], "forget_loss": distances[1]})
    return log


def doors(network: Conditioned | NextScale, pooled: bool = False) -> list[Door]:
    """The ways by which the text reaches a network; pooled: that of the pooled text too.

    Raises ValueError for a network that pools no text.
    """
    if not isinstance(network, NextScale):
        if pooled:
            raise ValueError("pooled is true, and a diffusion model takes no pooled text: leave it out")
        return [Door(lambda embeddings: embeddings, keys_and_values(network.unet))]
    condition, ends = network.transformer.condition, "text_attention.kv"
    matrices = [(name, module) for name, module in network.transformer.named_modules() if name.endswith(ends)]
    found = [Door(lambda embeddings: condition.words(condition.norm(embeddings)), matrices)]
    return [*found, Door(condition.norm, [("condition.kv", condition.kv)])] if pooled else found


def keys_and_values(unet: nn.Module) -> list[tuple[str, nn.Linear]]:
    """The cross-attention's projections of the text in a UNet, by name."""
    ends = ("attn2.to_k", "attn2.to_v")
    return [(name, module) for name, module in unet.named_modules() if name.endswith(ends)]


def transformation(
    concept: Tensor, anchors: Tensor, kept: Tensor, erase: float, preserve: float, ridge: float
) -> Tensor:
    """B A^-1 (width, width) of contexts in rows (n, width), (n, width) and (m, width), float64."""
    held = preserve * kept.T @ kept + ridge * torch.eye(concept.shape[1], dtype=concept.dtype, device=concept.device)
    factor = torch.linalg.cholesky(held + erase * concept.T @ concept)
    return torch.cholesky_solve((held + erase * anchors.T @ concept).T, factor).T


def contexts(
    network: Conditioned | NextScale, conditioning: Conditioning, words: Words, guide: Guide = "anchor"
) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs of the text encoder that shall change, what each shall become, and those that shall stay, float64.

    "last", as in the second release: the last token that names the concept; the last one that took its place, or where
    none did the start of the text, at which the release reads its empty guide; the last word of each other prompt.
    "all", after the first release: that token of the concept and every one after it, to the end of the padding, which
    have heard of it too; as many from the anchor's token on, or where none took its place so that both texts end
    together; and all tokens of each other prompt, of which the release takes the last word and what follows. Of a
    network that does not read what pads a text, its tokens alone.

    guide: "anchor", the concept becomes its anchor; "empty", the empty text, as where nothing took its place.
    """
    concept, anchors, others = conditioning.concept, conditioning.part("anchors"), conditioning.others
    here, there = last(conditioning.part("named")), last(conditioning.part("anchors_named"))
    if guide == "empty":
        anchors, there = conditioning.part("none").expand_as(concept), torch.full_like(there, -1)
    if (here < 0).any():
        raise ValueError("a prompt of the concept has no token that names it")
    (concepts, read), (becomes, _), (stay, stay_read) = (embedded(network, ids) for ids in (concept, anchors, others))
    if words == "last":
        rows, ends = torch.arange(len(concept)), last(words_of(others)).clamp(min=0)
        return concepts[rows, here], becomes[rows, there.clamp(min=0)], stay[torch.arange(len(others)), ends]
    aligned = end_of_text(anchors) - (end_of_text(concept) - here)
    there = torch.where(there < 0, aligned.clamp(min=0), there)
    length = concept.shape[1]
    found = []
    for row, (first, second) in enumerate(zip(here.tolist(), there.tolist(), strict=True)):
        own, other = slice(first, length - max(0, second - first)), slice(second, length - max(0, first - second))
        kept = read[row, own]
        found.append((concepts[row, own][kept], becomes[row, other][kept]))
    changed, wanted = (torch.cat(parts) for parts in zip(*found, strict=True))
    return changed, wanted, stay[stay_read]


def embedded(network: Conditioned | NextScale, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs of the text encoder (n, length, T), float64, and which of them the network reads (n, length)."""
    found = network.embed(ids)
    embeddings, read = found if isinstance(found, tuple) else (found, torch.ones_like(ids, dtype=torch.bool))
    return embeddings.double(), read
