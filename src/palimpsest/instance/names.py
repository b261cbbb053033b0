"""How the paper writes the family's identifiers."""

from palimpsest.unlearning.names import ERASERS, FORGETTERS

NAMES = {
    "instance": "instance unlearning",
    # networks
    "tiny_ddpm": "face DDPM",
    "data": "data (held out)",
    "pretrained": "pretrained",
    "oracle": "oracle (retrained)",
    # methods
    **FORGETTERS,
    "neggrad": ERASERS["neggrad"],
    "esd": "ESD",
    "spm": "SPM",
    "duo": "DUO",
    # surrogates
    "edit": "full edit",
    "edit_weak": "weak edit",
    "edit_medium": "medium edit",
    "edit_strong": "strong edit",
    "ddim_edit": "DDIM edit",
    "nearest": "nearest neighbour",
    "flip": "flip",
    "noise_50": "noise σ 50",
    "noise_150": "noise σ 150",
    "mask_paint": "painted rectangle",
}
# Measurements are compared within a study; nothing is meant where none is named.
DEFAULTS: dict[str, str] = {}


def name_of(word: str) -> str:
    """The name of an identifier."""
    return NAMES.get(word, word.replace("_", " "))
