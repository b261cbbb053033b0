"""The numbers of the source paper (Lee, Lee, Hong, Lee and Chun 2026, arXiv 2603.10445), for its tables beside ours.

Columns are SSCD (the target is at most 0.4), LPIPS, SSIM, FID to the pretrained model's samples and FID to data; the
headers of the last two are lost and inferred. Row names of table III are lost: constant weights and exponents unknown.
"""

LIMIT = 0.4  # of similarity: at most this counts as forgotten
COLUMNS = ("SSCD", "LPIPS", "SSIM", "FID pre", "FID data")
NONE = (None,) * len(COLUMNS)
SINGLE = {
    "neggrad_plus": (0.18, 1.00, 0.34, 223.5, 226.1),
    "erasediff_port": (0.03, 0.74, 0.61, 80.7, 87.8),
    "siss": (0.21, 0.43, 0.84, 15.7, 21.3),
    "unpromptable": (0.19, 0.35, 0.87, 9.8, 18.0),
}
SEQUENCE = {
    "neggrad_plus": (0.14, 0.96, 0.07, 415.4, 410.8),
    "erasediff_port": (0.04, 0.66, 0.71, 45.8, 51.1),
    "siss": (0.22, 0.51, 0.81, 26.8, 31.5),
    "unpromptable": (0.21, 0.37, 0.88, 17.5, 23.4),
}
# The rows marked with a dagger whose meaning is lost: a remember set that the model generated is the likeliest.
MARKED = (0.17, 0.41, 0.84, 15.7, 24.1)
MARKED_SEQUENCE = (0.16, 0.36, 0.80, 13.9, 27.2)
STRENGTH = {
    0.5: (0.434, 0.305, 0.900, 8.08, 16.25),
    1.0: (0.403, 0.304, 0.901, 8.04, 16.33),
    2.0: (0.330, 0.307, 0.900, 8.10, 16.62),
    4.0: (0.302, 0.315, 0.896, 8.34, 17.09),
    8.0: (0.278, 0.325, 0.891, 8.80, 17.62),
    16.0: (0.228, 0.338, 0.885, 8.94, 17.48),
    32.0: (0.194, 0.352, 0.872, 9.83, 18.03),
}
WEIGHT = {
    "constant, first": (0.279, 0.174, 0.897, 7.82, 24.06),
    "constant, second": (0.289, 0.173, 0.894, 7.18, 20.31),
    "exponent, first": (0.356, 0.213, 0.920, 6.06, 15.43),
    "exponent, second": (0.355, 0.213, 0.920, 6.06, 15.43),
    "exponent, third": (0.311, 0.235, 0.910, 6.59, 15.58),
}
PROJECTION = {
    "none": (0.309, 0.275, 0.899, 7.68, 14.72),
    "forget": (0.309, 0.274, 0.900, 7.65, 14.70),
    "both": (0.310, 0.276, 0.901, 8.15, 16.47),
}
KIND = {
    "edit": (0.35, 0.21, 0.92, None, None),
    "flip": (0.40, 0.31, 0.85, None, None),
    "noise_50": (0.54, 0.23, 0.91, None, None),
    "noise_150": (0.32, 0.28, 0.89, None, None),
}
DOMAIN = {"in": (0.34, 0.30, 0.90, 8.7, 16.6), "out": (0.32, 0.31, 0.90, 9.0, 17.1)}
