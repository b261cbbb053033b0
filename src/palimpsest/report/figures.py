"""Draw one figure of a family: a vector PDF for the paper and a PNG for the report.

A figure is a file, `palimpsest/<family>/figures/<name>.py`, with `draw(lookup, inputs, params) -> Figure`. What it is
drawn from stands in the file too (palimpsest.plan.report); `OPTIONAL` names the metrics that an experiment may lack.
"""

from palimpsest.report import style
from palimpsest.report.lookup import Lookup
from palimpsest.report.parts import naming, optional_of, part_of
from palimpsest.run import Input, Output, step


def plot(
    pdf: Output,
    png: Output,
    *,
    family: str,
    name: str,
    params: dict,
    measurements: list[Input] = (),
    inputs: list[Input] = (),
) -> dict:
    """Draw the figure `name` of a family from measurement files and its inputs, with the params that it declares."""
    module = part_of(family, "figures", name)
    lookup = Lookup(measurements, family, optional_of(module))
    style.apply()
    with naming(f"the figure {family}_{name}"):
        figure = module.draw(lookup, inputs, params)
    style.save(figure, pdf, png)
    return {}


if __name__ == "__main__":
    step(plot)
