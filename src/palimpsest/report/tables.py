"""Write one table of a family: LaTeX, CSV and HTML twins.

A table is a file, `palimpsest/<family>/tables/<name>.py`, with `build(lookup, params) -> Table`. What it is built from
stands in the file too (palimpsest.plan.report); `OPTIONAL` names the metrics that an experiment may lack.
"""

from palimpsest.report.lookup import Lookup
from palimpsest.report.parts import naming, optional_of, part_of
from palimpsest.run import Input, Output, step


def tabulate(
    tex: Output,
    csv: Output,
    html: Output,
    *,
    family: str,
    name: str,
    params: dict,
    measurements: list[Input] = (),
) -> dict:
    """Build the table `name` of a family from measurement files, with the params that it declares."""
    module = part_of(family, "tables", name)
    lookup = Lookup(measurements, family, optional_of(module))
    with naming(f"the table {family}_{name}"):
        table = module.build(lookup, params)
    table.write(tex, csv, html)
    return {"rows": len(table.frame), "columns": len(table.frame.columns)}


if __name__ == "__main__":
    step(tabulate)
