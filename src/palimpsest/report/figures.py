"""Draw one figure of a family: a vector PDF for the paper and a PNG for the report.

A figure is a file, `palimpsest/<family>/figures/<name>.py`, with `draw(inputs, params) -> Figure`.
"""

from palimpsest.report import style
from palimpsest.report.parts import part_of
from palimpsest.run import Input, Output, step


def plot(inputs: list[Input], pdf: Output, png: Output, *, family: str, name: str, params: dict) -> dict:
    """Draw the figure `name` of a family from its inputs; params come from its configuration entry."""
    style.apply()
    figure = part_of(family, "figures", name).draw(inputs, params)
    style.save(figure, pdf, png)
    return {}


if __name__ == "__main__":
    step(plot)
