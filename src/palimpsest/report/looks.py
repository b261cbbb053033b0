"""How methods are drawn: a colour and a mark each, the same in every figure of every family."""

from typing import NamedTuple

from palimpsest.report.style import PALETTE

# Colours of lines on white: in the place of the palette's pale pink and yellow stand darker ones, and navy is one more.
LINES = [*PALETTE[:6], "#7f0f4f", PALETTE[7], "#7a6a00", PALETTE[9], "#0b1f5b"]
BLUE, ORANGE, GREEN, VERMILION, PINK, BROWN, PLUM, GREY, OLIVE, SKY, NAVY = LINES


class Look(NamedTuple):
    """A colour, which kin share, and a mark, which tells kin apart."""

    color: tuple[float, float, float] | str
    marker: str


LOOKS = {
    # forget single pictures
    "unpromptable": Look(BLUE, "o"),
    "unpromptable_drawn": Look(BLUE, "s"),
    "replace": Look(SKY, "D"),
    "neggrad": Look(PLUM, "^"),
    "neggrad_plus": Look(PLUM, "v"),
    "naive_deletion": Look(BROWN, "P"),
    "erasediff_port": Look(GREEN, "*"),
    "erasediff_bome": Look(GREEN, "X"),
    "siss": Look(ORANGE, "d"),
    "siss_no_is": Look(ORANGE, "<"),
    "retrack": Look(GREY, ">"),
    # erase concepts from diffusion
    "esd": Look(VERMILION, "o"),
    "esd_x": Look(VERMILION, "o"),
    "esd_u": Look(VERMILION, "s"),
    "uce": Look(BROWN, "D"),
    "ac": Look(PINK, "p"),
    "fmn": Look(GREY, "v"),
    "spm": Look(OLIVE, "P"),
    "salun": Look(SKY, "*"),
    "erasediff": Look(GREEN, "X"),
    "scissorhands": Look(ORANGE, "d"),
    "advunlearn": Look(NAVY, "<"),
    # erase concepts from next-scale models
    "naive": Look(ORANGE, "v"),
    "vare": Look(SKY, "P"),
    "vare_filtered": Look(SKY, "X"),
    "vare_contrast": Look(SKY, "d"),
    "s_vare": Look(BLUE, "o"),
    "s_vare_corrected": Look(BLUE, "*"),
    "ac_vare": Look(PINK, "p"),
    "esd_vare": Look(VERMILION, "s"),
    "ear_windows": Look(GREEN, "^"),
    "erase_anything": Look(GREY, "<"),
    "first_scale_only": Look(OLIVE, ">"),
    "negative_prompt": Look(NAVY, "h"),
    "steering": Look(NAVY, "8"),
    "ascent": Look(PLUM, "^"),
}
UNKNOWN = Look("0.3", "o")  # a method that was added and has no look yet


def look_of(method: str) -> Look:
    """The look of a method."""
    return LOOKS.get(method, UNKNOWN)
