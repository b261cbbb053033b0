"""Which parameters of a text-to-image network an edit trains: the choices that concept erasers have in common."""

from collections.abc import Callable
from typing import Literal

from torch import nn

from palimpsest.models.text_diffusion import Conditioned
from palimpsest.options import choice
from palimpsest.run import UserError

Which = Literal[
    "cross_attention_kv", "cross_attention", "not_cross_attention", "self_attention", "full", "text_encoder"
]
CROSS, SELF = ".attn2.", ".attn1."  # as diffusers names the attention to the text, and to the picture itself


def select(network: Conditioned, which: Which) -> list[str]:
    """Let exactly the chosen parameters be trained; their names.

    Of the UNet: the cross-attention's keys and values (ESD-x strict, AC), all of its cross-attention (ESD-x), all but
    that (ESD-u), its self-attention, or everything; or the whole text encoder, embeddings of tokens and places included
    (AdvUnlearn). Raises UserError where the network has none of them, and for a choice that there is not.
    """
    choice(which, Which, "selection")
    return train_only(network, which, _belongs)


def train_only(network: nn.Module, which: str, belongs: Callable[[str, str], bool]) -> list[str]:
    """Let exactly the parameters be trained that belong to a choice, by their names in the network; these names.

    Raises UserError where there are none.
    """
    chosen = [name for name, _ in network.named_parameters() if belongs(name, which)]
    if not chosen:
        raise UserError(f"the network has no parameters that are {which}: choose others to train")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in chosen)
    return chosen


def _belongs(name: str, which: Which) -> bool:
    """Whether a parameter is one of the chosen, by its name in the network."""
    if which == "text_encoder" or not name.startswith("unet."):
        return which == "text_encoder" and name.startswith("text_encoder.")
    return {
        "cross_attention_kv": f"{CROSS}to_k." in name or f"{CROSS}to_v." in name,
        "cross_attention": CROSS in name,
        "not_cross_attention": CROSS not in name,
        "self_attention": SELF in name,
        "full": True,
    }[which]
