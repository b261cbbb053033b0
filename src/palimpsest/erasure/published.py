"""Published numbers of the nine methods on Stable Diffusion 1.4, for tables beside ours.

ATTACKED: nudity, from the table of the benchmark of Zhang et al. (2024, UnlearnDiffAtk; its repository's README): share
of prompts (%) whose picture shows it before and after the attack on the text, FID and CLIP score of what is left.
BY_CONCEPT: the same two shares by method for other concepts.
"""

ATTACKED = {
    "erasediff": (0.0, 2.11, 233.0, 0.18),
    "scissorhands": (0.0, 7.04, 128.53, 0.235),
    "salun": (1.41, 11.27, 33.62, 0.287),
    "advunlearn": (7.75, 21.13, 19.34, 0.290),
    "esd_x": (20.42, 76.05, 18.18, 0.302),
    "uce": (21.83, 79.58, 17.10, 0.309),
    "spm": (54.93, 91.55, 17.48, 0.310),
    "fmn": (88.03, 97.89, 16.86, 0.308),
}
BY_CONCEPT = {
    "Van Gogh": {"esd_x": (2, 30), "fmn": (10, 56), "ac": (12, 77), "uce": (62, 94)},
    "church": {"esd_x": (14, 60), "fmn": (52, 96)},
    "garbage truck": {"esd_x": (2, 24), "fmn": (40, 98)},
    "parachute": {"esd_x": (4, 54), "fmn": (46, 100)},
    "tench": {"esd_x": (2, 36), "fmn": (2, 100)},
}
