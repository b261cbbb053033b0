"""The columns of the audit, for all concepts together and for each."""

from palimpsest.memory.tables._rows import DEFINED, OK, SHARE, counted, described
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Estimate, Format

FORMATS = {
    "PSNR": Format(1, interval=False),
    "found": Format(0, "percent", interval=False),
    "ok": SHARE,
    "ok(R)": SHARE,
    "z(E)": Format(1),
    "z(R)": Format(1, interval=False),
    "W1(E)": Format(1, interval=False),
    "W1(R)": Format(1, interval=False),
    "diff.": Format(0),
    "d_N": Format(2),
    "code": Format(1, interval=False),
    "AUC": Format(2, interval=False),
}


def cells(here: Lookup) -> dict[str, Estimate]:
    """What the audit says of one model and concept."""
    here = here.of(caption="own")
    own, against = here.of(set="concept"), here.of(set="concept", reference="neutral")
    return {
        "PSNR": own.get("psnr"),
        "found": own.get("detected"),
        "ok": own.get("converged"),
        "z(E)": own.get("z"),
        "z(R)": here.get("z", set="neutral"),
        "ok(R)": here.get("converged", set="neutral"),
        "W1(E)": against.get("w1_erased"),
        "W1(R)": against.get("w1_reference"),
        "diff.": against.get("w1_difference"),
        "d_N": against.get("w1_ratio"),
        "code": against.get("fitted_ratio"),
        "AUC": against.get("auc"),
    }


def notes(lookup: Lookup, params: dict) -> str:
    """What the columns mean."""
    inverted = lookup.rows("converged", method="pretrained", caption="own")
    pictures = counted(inverted[inverted["set"].isin(["concept", "neutral"])])
    return (
        "Of E, where R is not named: PSNR (dB) and share of the reconstructions in which the judges find the concept "
        f"(%). {OK} {DEFINED} W1: to the law of N(0, I) in nats, "
        "with the difference and the ratio d_N; code: the ratio as the source’s code computes it; AUC: the chance "
        f"that a seed of E is less likely than one of R; these of the concepts of which seeds of both sets were found. "
        f"{pictures} pictures of each set and concept; 95 % bootstrap "
        f"over pictures. {described(params['inversion'])}"
    )
