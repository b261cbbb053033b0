"""The concept's codes put into safe images: leakage against its floors, and what the judge finds."""

from palimpsest.lcr.tables._rows import frame_of, measured_on
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("injection",)
PARAMS = {"models": None}

SHARE, RATIO = Format(1, "percent"), Format(2)
LATENT, CYCLE, PIXELS, FOUND = "Latent change, inside / outside", "Cycle", "Pixels", "Concept found (held-out judge)"
ROWS = [
    (LATENT, "Against the safe image’s codes (published: 1.755)", "injection_ratio", {"against": "codes"}, RATIO),
    (LATENT, "Floor: a cycle without an edit", "injection_ratio", {"baseline": "cycle"}, RATIO),
    (LATENT, "Floor: two draws of one picture", "injection_ratio", {"baseline": "draws"}, RATIO),
    (LATENT, "Against the cycled safe image", "injection_ratio", {"against": "cycle"}, RATIO),
    (CYCLE, "Codes kept, no edit", "cycle_agreement", {"edit": "none", "where": "all"}, SHARE),
    (CYCLE, "Codes kept inside, injected", "cycle_agreement", {"edit": "injected", "where": "inside"}, SHARE),
    (CYCLE, "Codes kept outside, injected", "cycle_agreement", {"edit": "injected", "where": "outside"}, SHARE),
    (CYCLE, "Codes outside that differ from the cycle’s", "codes_changed_outside", {"against": "cycle"}, SHARE),
    (CYCLE, "… within two cells of the region", "codes_changed_near", {"against": "cycle"}, SHARE),
    (CYCLE, "… farther", "codes_changed_far", {"against": "cycle"}, SHARE),
    (PIXELS, "Change inside (grey levels of 255)", "pixel_change", {"where": "inside"}, Format(1)),
    (PIXELS, "Change outside", "pixel_change", {"where": "outside"}, Format(2)),
    (PIXELS, "PSNR outside (dB)", "leak_outside_psnr", {}, Format(1)),
    (FOUND, "In safe reconstructions", "injected_detection_rate", {"image": "reconstruction"}, SHARE),
    (FOUND, "After injection", "injected_detection_rate", {"image": "injected"}, SHARE),
    (FOUND, "In the donors’ reconstructions", "injected_detection_rate", {"image": "forget_reconstruction"}, SHARE),
]


def build(lookup: Lookup, params: dict) -> Table:
    """One column per model."""
    pairs = measured_on(lookup, "leak_outside_psnr", method="injection")
    frame, formats = frame_of(ROWS, lookup.of(method="injection"), params["models"])
    return Table(
        frame,
        caption=f"Injection ({pairs} pairs): the codes of the concept’s region put into safe images, decoded and "
        "encoded again. The published ratio has no floor; here the same ratio of an unedited cycle, and of two "
        "random draws, stands beside it.",
        label="tab:lcr-injection",
        formats=formats,
        group="group",
        widths={"Quantity": 0.36},
    )
