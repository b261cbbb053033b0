"""Which parameters of a next-scale model an edit trains."""

from typing import Literal

from palimpsest.models.var import NextScale
from palimpsest.options import choice
from palimpsest.unlearning.selectors import train_only

Which = Literal["cross_attention", "feed", "cross_attention_and_feed", "self_attention", "modulation_and_feed", "full"]
CROSS, FEED, SELF = ".text_attention.", ".feed.", ".attention."


def select(network: NextScale, which: Which) -> list[str]:
    """Let exactly the chosen parameters be trained; their names.

    Of the blocks: the cross-attention to the text, the layers of each token, both (the release's choice), or the
    self-attention; of a model of classes, which has no cross-attention, what modulates the blocks with those layers; or
    the whole transformer. Raises UserError where the network has none of them, and for a choice that there is not.
    """
    choice(which, Which, "selection")
    return train_only(network, which, _belongs)


def _belongs(name: str, which: Which) -> bool:
    """Whether a parameter is one of the chosen, by its name in the network."""
    if not name.startswith("transformer."):
        return False
    return {
        "cross_attention": CROSS in name,
        "feed": FEED in name,
        "cross_attention_and_feed": CROSS in name or FEED in name,
        "self_attention": SELF in name,
        "modulation_and_feed": FEED in name or ".modulation." in name or name.endswith(".offset"),
        "full": True,
    }[which]
