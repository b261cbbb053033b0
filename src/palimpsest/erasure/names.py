"""How the paper writes the family's identifiers."""

NAMES = {
    "erasure": "concept erasure",
    # networks
    "tiny_sd": "text-to-image model",
    "pretrained": "pretrained",
    "oracle": "oracle (retrained)",
    "random": "random weights",
    # methods
    "esd_x": "ESD-x",
    "esd_u": "ESD-u",
    "uce": "UCE",
    "ac": "AC",
    "fmn": "FMN",
    "spm": "SPM",
    "salun": "SalUn",
    "erasediff": "EraseDiff",
    "scissorhands": "Scissorhands",
    "advunlearn": "AdvUnlearn",
    "neggrad": "gradient ascent",
    # concepts
    "all": "all concepts",
}
# Measurements are compared within a study; nothing is meant where none is named.
DEFAULTS: dict[str, str] = {}


def name_of(word: str) -> str:
    """The name of an identifier."""
    return NAMES.get(word, word.replace("_", " "))
