"""The codes in the concept's region against regions of the same form elsewhere."""

import pandas as pd

from palimpsest.lcr.names import name_of
from palimpsest.lcr.tables._rows import measured_on
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("code_stats",)
PARAMS = {"models": None, "sets": ["forget_fit"]}

SHARE = Format(1, "percent")
# What a row says, its metric, its format, and the published value (of 2886 live codes where it is a share of live).
ROWS = (
    ("Unique codes", "unique_codes", Format(0), "2886"),
    ("Coverage of the codebook", "coverage_codebook", SHARE, "35.2\u2009%"),
    ("Coverage of the live codes", "coverage_live", SHARE, "100\u2009% *"),
    ("Entropy (bits)", "entropy_bits", Format(2), "10.78"),
    ("… bias-corrected", "entropy_bits_miller_madow", Format(2), ""),
    ("… as share of the live maximum", "entropy_share_of_live", SHARE, "93.8\u2009% *"),
    ("Perplexity", "perplexity", Format(0), "1758 *"),
    ("Share of the 10 most frequent", "top10_share", SHARE, "2.7\u2009%"),
    ("Share of the 50 most frequent", "top50_share", SHARE, "10.8\u2009%"),
    ("Cosine of two regions’ histograms", "histogram_cosine", Format(3), "0.161"),
    ("Divergence of all regions (bits)", "jensen_shannon_bits", Format(2), ""),
    ("Highest PMI of a pair (bits)", "pair_pmi_max", Format(1), ""),
)


def build(lookup: Lookup, params: dict) -> Table:
    """Measured and null of every statistic, for every model, beside the published value."""
    usual = {"set": params["sets"]["forget_fit"], "method": ""}
    pictures = measured_on(lookup, "histogram_cosine", **usual)
    rows, formats = [], []
    for text, metric, style, published in ROWS:
        cells = [
            lookup.get(name, model=model, **usual) for model in params["models"] for name in (metric, f"{metric}_null")
        ]
        rows.append((text, *cells, published))
        formats.append(style)
    names = [(name_of(model), column) for model in params["models"] for column in ("In the region", "Null")]
    columns = pd.MultiIndex.from_tuples([("", "Quantity"), *names, ("Published", "f8, K=8192")])
    return Table(
        pd.DataFrame(rows, columns=columns),
        caption=f"Codes in the concept’s region ({pictures}). Null: regions of the same form at random places of "
        "images without the concept, with the 2.5 and 97.5 % quantiles of the placements; measured values have a "
        "bootstrap interval over images where resampling does not bias them. Divergence: the generalised "
        "Jensen–Shannon divergence, the entropy of the mean of all regions’ distributions less their mean entropy; 0 "
        "where all are alike. Published values are of another model and other data.",
        label="tab:lcr-code-statistics",
        formats=formats,
        wide=True,
        notes="* derived from published counts: three independent places of the source show exactly 2886 codes in use.",
    )
