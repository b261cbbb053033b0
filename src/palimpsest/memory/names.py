"""How the paper writes the family's identifiers."""

from palimpsest.unlearning.names import ERASERS, FORGETTERS

NAMES = {
    "memory": "audit by inversion",
    # models of the solvable mixture
    "vanilla": "vanilla",
    "oracle": "oracle",
    "zero": "no noise predicted",
    "white": "N(0, I) data",
    "random": "random network",
    # sets
    "erased": "E",
    "reference": "R",
    # where the sampler ends
    "released": "as released",
    "matched": "matching noise added",
    "clean": "clean end",
    # networks and methods
    "tiny_sd": "scenes model",
    "pretrained": "pretrained",
    **ERASERS,
    # methods that edit face models
    **FORGETTERS,
    "edited": "all methods",
    # captions and sets
    "caption_own": "own captions",
    "caption_neutral": "captions without the concept",
    "caption_empty": "empty caption",
    "caption_guided": "own captions, with guidance",
    "set_concept": "concept, drawn (E)",
    "set_neutral": "others, drawn (R)",
    "set_real_concept": "concept, real",
    "set_real": "others, real",
    "set_scrambled": "concept, scrambled",
    "set_blurred": "concept, blurred",
    "set_noise": "noise",
    # solvers
    "ddim": "DDIM",
    "fixed_point": "fixed point",
    "anderson": "Anderson",
    "renoise": "ReNoise",
    "rnri": "RNRI, as released",
    "rnri_gradient": "RNRI, with gradients",
    "heun": "Heun",
}
# Labels that are meant where none is given.
DEFAULTS = {"precision": "float32", "checkpoint": ""}


def name_of(word: str) -> str:
    """The name of an identifier."""
    return NAMES.get(word, word.replace("_", " "))
