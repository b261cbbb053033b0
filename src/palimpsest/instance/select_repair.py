"""Choose a repair's setting on wrong pictures and samples of the tuning's own, by the rule of `judges.choosing`.

Its two rates: of the samples that were wrong, those that are not any more; of those that were right, those that still
are; of other classes', those that look like data and are read as before.
"""

import json

import numpy as np

from palimpsest.judges.choosing import DRAWS, taken, worse_of
from palimpsest.metrics.measurements import read, row, write
from palimpsest.run import Input, Output, step

RATES = ("gone", "good_kept", "others_kept")


def select(
    measurements: Input,
    selected: Output,
    chosen: Output,
    *,
    method: str,
    model: str,
    grid: dict,
) -> dict:
    """selected: JSON of the chosen setting; chosen: which one it was, both rates, and how often it is chosen again.

    grid: {"settings": [{"name", "training", "settings"}, ...]}. Where none of the samples was wrong, all of them are
    gone; where none was right, all are kept.
    """
    table, names = read([measurements]), [each["name"] for each in grid["settings"]]
    found = table.groupby(["setting", "metric"]).agg({"value": "mean", "n": "sum"})
    of_each = [[found.loc[key] if (key := (name, rate)) in found.index else NONE for rate in RATES] for name in names]
    shares, counts = (np.array([[each[key] for each in some] for some in of_each]) for key in ("value", "n"))
    place, again = taken(shares, counts, 1.0)
    _, gone, kept = worse_of(shares[place], 1.0)
    selected.write_text(json.dumps(grid["settings"][place], sort_keys=True) + "\n", encoding="utf-8")
    rows = [row("selected", 1, setting=names[place]), row("selected_again", again, setting=names[place], n=DRAWS)]
    rows += [row("tuning_gone", float(gone)), row("tuning_kept", float(kept))]
    write(chosen, rows, family="instance", model=model, method=method)
    return {"setting": names[place], "again": again}


NONE = {"value": 1.0, "n": 0}


if __name__ == "__main__":
    step(select)
