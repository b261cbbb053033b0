"""Write one table of a family: LaTeX, CSV and HTML twins.

A table is a file, `palimpsest/<family>/tables/<name>.py`, with `build(lookup, params) -> Table`.
"""

from palimpsest.report.lookup import Lookup
from palimpsest.report.parts import part_of
from palimpsest.run import Input, Output, step


def tabulate(
    measurements: Input, tex: Output, csv: Output, html: Output, *, family: str, name: str, params: dict
) -> dict:
    """Build the table `name` of a family from the collected measurements; params come from its configuration entry."""
    table = part_of(family, "tables", name).build(Lookup(measurements, family), params)
    table.write(tex, csv, html)
    return {"rows": len(table.frame), "columns": len(table.frame.columns)}


if __name__ == "__main__":
    step(tabulate)
