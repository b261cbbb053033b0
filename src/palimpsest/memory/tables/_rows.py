"""What the family's tables share: which rows there are, and what their columns mean."""

from palimpsest.memory.names import name_of

NETWORKS, IGNORANT = ("pretrained", "oracle"), ("random", "zero")
DEFINED = (
    "E: pictures of the concept that the pretrained model drew; R: its pictures of other captions; z: the NLL of a "
    "seed about the mean of that of N(0, I), in its standard deviations."
)


def rows_of(params: dict, model: str) -> list[str]:
    """The networks that know the rest, those that know nothing, and the methods; an oracle only where there is one."""
    known = [name for name in NETWORKS if name != "oracle" or params["oracles"][model]]
    return [*known, *IGNORANT, *params["methods"]]


def group_of(method: str) -> str:
    """The spanning row that a row stands below."""
    return "networks that know nothing" if method in IGNORANT else "" if method in NETWORKS else "edited"


def described(inversion: dict) -> str:
    """How was inverted, as a sentence of the notes."""
    said = (
        f"Inverted without guidance by {name_of(inversion['solver'])}: {inversion['steps']} steps of at most "
        f"{inversion['iterations'] + 1} evaluations, to a residual of {inversion['tolerance']:g}."
    )
    if not (own := inversion.get("edits")):
        return said
    whole = {**inversion, **own}
    return f"{said} Edits in {whole.get('precision', 'float32')}, to a residual of {whole['tolerance']:g}."
