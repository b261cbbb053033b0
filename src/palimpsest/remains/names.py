"""How the paper writes the identifiers of the comparison over families; methods are called as their families call them.

QUESTIONS: what a family is asked of, with the kind of its generators.
"""

from palimpsest.report import parts

NAMES = {
    "remains": "what remains",
    "tiny_gumbel": "VQ-GAN (Gumbel)",
    "tiny_vq": "VQ-GAN (nearest)",
    "tiny_ddpm": "diffusion of faces",
    "tiny_sd": "diffusion of texts",
    "tiny_var": "next-scale model",
    "pretrained": "pretrained",
    "oracle": "oracle",
}
QUESTIONS = {
    "lcr": "concepts in codes",
    "instance": "single images",
    "erasure": "concepts in diffusion",
    "var": "concepts over scales",
}
# Labels that are meant where none is given.
DEFAULTS: dict[str, str] = {}


def name_of(word: str, kind: str = "") -> str:
    """The name of an identifier; of a method, that which its family (kind) gives it."""
    return NAMES[word] if word in NAMES else parts.name_of(kind, word) if kind else word.replace("_", " ")
