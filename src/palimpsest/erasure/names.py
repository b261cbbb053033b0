"""How the paper writes the family's identifiers."""

from palimpsest.unlearning.names import ERASERS

NAMES = {
    "erasure": "concept erasure",
    # networks
    "tiny_sd": "text-to-image model",
    "pretrained": "pretrained",
    "oracle": "oracle (retrained)",
    "random": "random weights",
    # methods
    **ERASERS,
    # concepts
    "all": "all concepts",
}
# Measurements are compared within a study; nothing is meant where none is named.
DEFAULTS: dict[str, str] = {}


def name_of(word: str) -> str:
    """The name of an identifier."""
    return NAMES.get(word, word.replace("_", " "))
