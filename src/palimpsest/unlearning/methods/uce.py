"""Unified concept editing (Gandikota et al. 2024): the cross-attention's keys and values of a concept, in closed form.

Every matrix W of attn2.to_k and attn2.to_v becomes the one that least changes
erase sum |W' c_i - W a_i|^2 + preserve sum |W' p_j - W p_j|^2 + ridge |W' - W|^2: W' = W B A^-1, where
A = ridge I + erase sum c_i c_i^T + preserve sum p_j p_j^T and B has a_i c_i^T in place of c_i c_i^T. B A^-1 is the same
for every matrix. c, a and p are outputs of the text encoder at tokens of the concept, of the anchors and of the others.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from palimpsest.models.text_diffusion import Conditioned
from palimpsest.options import Amount, Size
from palimpsest.unlearning.context import Conditioning, Context
from palimpsest.unlearning.prompts import end_of_text, last
from palimpsest.unlearning.prompts import words as words_of

Words = Literal["last", "all"]


@torch.no_grad()
def edit(
    network: Conditioned,
    context: Context,
    *,
    erase: Size = 1.0,
    preserve: Size = 1.0,
    ridge: Amount = 0.5,
    words: Words = "last",
) -> list[dict]:
    """Change the keys and values in place; the log has a row per matrix.

    Needs conditioning with anchors and named tokens. erase, preserve, ridge: weights of the three terms above, of sums
    over tokens. words: at which tokens prompts are read (`contexts`). Defaults: the second release's. Logged are how
    far each matrix moved and its mean squared distance from the anchors' keys or values, before and after.
    """
    concept, anchors, kept = contexts(network, context.part("conditioning"), words)
    change, log = transformation(concept, anchors, kept, erase, preserve, ridge), []
    for name, module in keys_and_values(network.unet):
        before = module.weight.double()
        after, wanted = before @ change, anchors @ before.T
        distances = [float((concept @ each.T - wanted).square().mean()) for each in (before, after)]
        moved = float((after - before).norm() / before.norm())
        module.weight.copy_(after)
        log.append(
            {"step": len(log), "matrix": name, "moved": moved, "loss_before": distances[0], "forget_loss": distances[1]}
        )
    return log


def keys_and_values(unet: nn.Module) -> list[tuple[str, nn.Linear]]:
    """The cross-attention's projections of the text, by name."""
    ends = ("attn2.to_k", "attn2.to_v")
    return [(name, module) for name, module in unet.named_modules() if name.endswith(ends)]


def transformation(
    concept: Tensor, anchors: Tensor, kept: Tensor, erase: float, preserve: float, ridge: float
) -> Tensor:
    """B A^-1 (width, width) of contexts in rows (n, width), (n, width) and (m, width), float64."""
    held = preserve * kept.T @ kept + ridge * torch.eye(concept.shape[1], dtype=concept.dtype, device=concept.device)
    factor = torch.linalg.cholesky(held + erase * concept.T @ concept)
    return torch.cholesky_solve((held + erase * anchors.T @ concept).T, factor).T


def contexts(network: Conditioned, conditioning: Conditioning, words: Words) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs of the text encoder that shall change, what each shall become, and those that shall stay, float64.

    "last", as in the second release: the last token that names the concept; the last one that took its place, or where
    none did the start of the text, at which the release reads its empty guide; the last word of each other prompt.
    "all", after the first release: that token of the concept and every one after it, to the end of the padding, which
    have heard of it too; as many from the anchor's token on, or where none took its place so that both texts end
    together; and all tokens of each other prompt, of which the release takes the last word and what follows.
    """
    concept, anchors = conditioning.concept, conditioning.part("anchors")
    here, there = last(conditioning.part("named")), last(conditioning.part("anchors_named"))
    if (here < 0).any():
        raise ValueError("a prompt of the concept has no token that names it")
    concepts, becomes, others = (network.embed(ids).double() for ids in (concept, anchors, conditioning.others))
    if words == "last":
        rows, ends = torch.arange(len(concept)), last(words_of(conditioning.others)).clamp(min=0)
        return concepts[rows, here], becomes[rows, there.clamp(min=0)], others[torch.arange(len(others)), ends]
    aligned = end_of_text(anchors) - (end_of_text(concept) - here)
    there = torch.where(there < 0, aligned.clamp(min=0), there)
    length = concept.shape[1]
    found = [
        (one[first : length - max(0, second - first)], two[second : length - max(0, first - second)])
        for one, two, first, second in zip(concepts, becomes, here.tolist(), there.tolist(), strict=True)
    ]
    changed, wanted = (torch.cat(parts) for parts in zip(*found, strict=True))
    return changed, wanted, others.flatten(0, 1)
