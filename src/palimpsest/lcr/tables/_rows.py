"""Tables whose rows are quantities and whose columns are models."""

import pandas as pd

from palimpsest.lcr.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format

# A row: its group, its text, the metric, the labels, the format.
Row = tuple[str, str, str, dict, Format]


def measured_on(lookup: Lookup, metric: str, **labels) -> str:
    """The set that a measurement is of and its number of images, for a caption: "set forget_test, n = 80"."""
    rows = lookup.rows(metric, **labels)
    if rows.empty:
        return "not measured"
    return f"set {rows['set'].iloc[0].replace('_', ' ')}, n\u2009=\u2009{int(rows['n'].max())}"


def frame_of(rows: list[Row], lookup: Lookup, models: list[str]) -> tuple[pd.DataFrame, list[Format]]:
    """The frame (columns group, Quantity, one per model) and the format of every row; unmeasured rows are left out."""
    cells = [[lookup.get(metric, model=model, **labels) for model in models] for _, _, metric, labels, _ in rows]
    kept = [index for index, line in enumerate(cells) if any(cell.value == cell.value for cell in line)]
    columns = {"group": [rows[index][0] for index in kept], "Quantity": [rows[index][1] for index in kept]}
    columns |= {name_of(model): [cells[index][place] for index in kept] for place, model in enumerate(models)}
    return pd.DataFrame(columns), [rows[index][4] for index in kept]
