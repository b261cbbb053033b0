"""How the paper writes the identifiers of the comparison over families.

Methods are called as their families call them. QUESTIONS: what a family is asked of.
"""

from palimpsest.report import parts

NAMES = {
    "remains": "what remains",
    "tiny_gumbel": "VQ-GAN (Gumbel)",
    "tiny_vq": "VQ-GAN (nearest)",
    "tiny_ddpm": "diffusion of faces",
    "tiny_sd": "text-to-image diffusion",
    "tiny_var": "next-scale model",
}
QUESTIONS = {
    "lcr": "Concepts in codes",
    "instance": "Single images",
    "erasure": "Concepts in diffusion",
    "var": "Concepts over scales",
}
# Labels that are meant where none is given: none but what all families have.
DEFAULTS: dict[str, str] = {}


def name_of(word: str, kind: str = "remains") -> str:
    """The name of an identifier: that which its family (kind) gives it where there is none here."""
    return NAMES.get(word) or parts.name_of(kind, word)
