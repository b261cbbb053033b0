"""How the paper writes the family's identifiers, and which labels are meant when none are given.

An identifier without an entry is written as it is, underscores as spaces: a new rule or model needs no entry.
"""

NAMES = {
    "lcr": "latent code replacement",
    "corrected": "corrected",
    "reproduce_2025": "released",
    # pictures that are no edit
    "original": "original",
    "twin_original": "true twin",
    # models
    "tiny_gumbel": "Gumbel",
    "tiny_vq": "nearest",
    "gumbel_f8": "Gumbel f8",
    "vq_f16_16384": "VQ f16",
    # replacement rules
    "reconstruction": "plain reconstruction",
    "fixed": "fixed index",
    "random_safe": "random safe",
    "random_live": "random live",
    "random_frequency": "random by frequency",
    "shuffle_in_mask": "shuffle in mask",
    "nn_embed": "nearest, code vectors",
    "nn_proj": "nearest, encoder logits",
    "nn_decoded": "nearest, decoded patch",
    "nn_cooccurrence": "nearest, co-occurrence",
    "masked_requant": "masked requantisation",
    "border_fill": "border fill",
    "donor_patch": "donor patch",
    "context_icm": "context (ICM)",
    "learned_map": "learned map",
    "twin": "twin’s codes (oracle)",
    "black": "black",
    "mean_colour": "mean colour",
    "blur": "blur",
    "pixelate": "pixelate",
}
# The preset that every table, number and claim speaks of unless it names another.
DEFAULTS = {"preset": "corrected"}


def name_of(word: str) -> str:
    """The name of an identifier."""
    return NAMES.get(word, word.replace("_", " "))
