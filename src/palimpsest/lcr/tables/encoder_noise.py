"""How random the encoding is."""

from palimpsest.lcr.tables._rows import frame_of, measured_on
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("encoder_noise",)
PARAMS = {"models": None}
# The first are of quantisers that draw, the last of those that take the nearest code.
OPTIONAL = ("cell_entropy_bits", "decided_share", "psnr_draw", "psnr_draw_loss", "psnr_draw_spread", "code_margin")

BITS, SHARE, DECIBEL = Format(3), Format(1, "percent"), Format(2)
ROWS = [
    ("Codes", "Entropy of a cell’s code, mean (bits)", "cell_entropy_bits", {"statistic": "mean"}, BITS),
    ("Codes", "… median", "cell_entropy_bits", {"statistic": "median"}, BITS),
    ("Codes", "… 90 % quantile", "cell_entropy_bits", {"statistic": "q90"}, BITS),
    ("Codes", "Cells decided within 0.1 bits", "decided_share", {}, SHARE),
    ("Codes", "Agreement of two draws, expected", "draw_agreement", {"kind": "expected"}, SHARE),
    ("Codes", "Agreement of two encodings, measured", "draw_agreement", {"kind": "measured"}, SHARE),
    ("Codes", "Agreement of a draw with the likeliest code", "argmax_agreement", {"kind": "measured"}, SHARE),
    ("Codes", "Margin of the nearest code, mean", "code_margin", {"statistic": "mean"}, BITS),
    ("Pictures (dB)", "PSNR, likeliest code", "psnr_argmax", {}, DECIBEL),
    ("Pictures (dB)", "PSNR, drawn codes", "psnr_draw", {}, DECIBEL),
    ("Pictures (dB)", "Loss by drawing", "psnr_draw_loss", {}, DECIBEL),
    ("Pictures (dB)", "Spread over draws of one picture", "psnr_draw_spread", {}, DECIBEL),
]


def build(lookup: Lookup, params: dict) -> Table:
    """Entropies, agreements and their cost for every model."""
    pictures = measured_on(lookup, "psnr_argmax", method="encoder_noise")
    frame, formats = frame_of(ROWS, lookup.of(method="encoder_noise"), params["models"])
    return Table(
        frame,
        caption=f"Encoding as a random draw ({pictures}). The Gumbel quantiser draws each code from its distribution "
        "also in evaluation; the nearest-neighbour quantiser draws nothing, and its margin is how much farther the "
        "second code is, as a share of its distance. Intervals resample images; a PSNR is the mean over pictures.",
        label="tab:lcr-encoder-noise",
        formats=formats,
        group="group",
        widths={"Quantity": 0.33},
    )
