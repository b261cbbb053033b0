"""The weights of the two losses over timesteps (the paper's Table III)."""

from palimpsest.instance.published import WEIGHT
from palimpsest.instance.tables._rows import forgets, line, table
from palimpsest.instance.tables._settings import study_rows, unless
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table

MEASUREMENTS = ("weight",)
PARAMS = {"models": None, "studies": ["weight"], "evaluation": None, "fixed": ["unpromptable"]}

NAMES = {
    "constant_0.1": "constant 0.1",
    "constant_0.5": "constant 0.5",
    "constant_0.9": "constant 0.9",
    "exponent_0.5": "exponent 0.5",
    "exponent_1": "exponent 1",
    "exponent_2": "exponent 2",
    "min_snr_5": "min-SNR, 5",
    "capped_snr_1": "SNR capped at 1",
}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: ours by weight, then the published, whose labels are lost."""
    ours = study_rows(lookup, params, "weight", NAMES)
    theirs = [line(lookup, name, {"model": "published"}, row) for name, row in WEIGHT.items()]
    return table(
        [*ours, *theirs],
        "Weight",
        "The timestep weight: constant ones against ((t+1)/T) to an exponent for the forget loss, its complement for "
        "the other.",
        "tab:instance-weight",
        f"{unless(params, 'weight')} Which constants and exponents the published rows have is lost.",
        compared=[forgets(row) for row in ours] + [False] * len(theirs),
    )
