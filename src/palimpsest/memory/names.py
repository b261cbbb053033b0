"""How the paper writes the family's identifiers."""

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
DEFAULTS: dict[str, str] = {}


def name_of(word: str) -> str:
    """The name of an identifier."""
    return NAMES.get(word, word.replace("_", " "))
