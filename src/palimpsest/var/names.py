"""How the paper writes the family's identifiers."""

NAMES = {
    "var": "next-scale models",
    # networks
    "tiny_var": "next-scale model",
    "tiny_var_four_scales": "next-scale model of four scales",
    "pretrained": "pretrained",
    "oracle": "oracle (retrained)",
    "random": "random weights",
    # methods
    "naive": "naive",
    "vare": "VARE",
    "vare_filtered": "VARE, filtered",
    "vare_contrast": "VARE, contrast",
    "s_vare": "S-VARE, release",
    "s_vare_corrected": "S-VARE, corrected",
    "ac_vare": "AC on VARE",
    "esd": "ESD",
    "esd_vare": "ESD on VARE",
    "uce": "UCE",
    "ear_windows": "EAR",
    "erase_anything": "EraseAnything",
    "first_scale_only": "first scales only",
    "negative_prompt": "negative prompt",
    "steering": "steering",
    "ascent": "gradient ascent",
    # what the transformer is fed: a text, and the tokens of the scales before
    "safe_safe": "safe text, safe tokens",
    "concept_safe": "concept, safe tokens (VARE)",
    "concept_own": "concept, its own tokens (naive)",
    "concept_blank": "concept, blank",
    # concepts
    "all": "all concepts",
}
# Measurements are compared within a study; nothing is meant where none is named.
DEFAULTS: dict[str, str] = {}


def prefixes(scales: list[int]) -> dict[str, int]:
    """What an attack is called that is given so many of the first scales: `prefix` is that of the first number."""
    return {f"prefix_{count}" if place else "prefix": count for place, count in enumerate(scales)}


def name_of(word: str) -> str:
    """The name of an identifier."""
    return NAMES.get(word, word.replace("_", " "))
