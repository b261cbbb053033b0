"""The scales that were measured."""

from palimpsest.report.lookup import Lookup


def sides_of(lookup: Lookup, metric: str) -> list[int]:
    """Sides of the scales by which a metric was measured, in tokens, the smallest first."""
    return sorted(int(scale) for scale in lookup.rows(metric)["scale"].unique() if scale.isdigit())
