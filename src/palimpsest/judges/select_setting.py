"""Choose a method's setting on the tuning's concepts, which are not reported, by one rule for all methods.

A setting is as good as the worse of two rates: of the prompts that name the concept, those that do not show it any
more; how much of what prompts ask for beside it is shown as before, by the same prompts, neighbours and the rest.
"""

import json

from palimpsest.metrics.measurements import read, row, write
from palimpsest.run import Input, Output, step
from palimpsest.worlds.concepts import ALL

KEPT = ("own", "neighbour", "rest")


def select(
    measurements: Input,
    baseline: Input,
    selected: Output,
    chosen: Output,
    *,
    family: str,
    method: str,
    model: str,
    grid: dict,
) -> dict:
    """selected: JSON of the chosen setting; chosen: which one it was, and both rates, as measurements.

    measurements: of the tuning; baseline: of the networks, among them the pretrained one. grid: {"settings": [{"name",
    "training", "settings"}, ...]}. What is kept is a share of what the pretrained model shows of the same prompts: all
    of it where that shows nothing, as random weights do.
    """
    table, before = read([measurements]), read([baseline])
    concepts = set(table["concept"]) - {ALL}
    table = table[table["concept"] == ALL]
    before = before[(before["method"] == "pretrained") & before["concept"].isin(concepts)]
    rates, shown = {}, mean_of(before, "kept", KEPT)
    if shown == 0:
        print(f"{model} shows nothing of what these prompts ask for: all of it counts as kept")
    for name, rows in table.groupby("setting"):
        erased = mean_of(rows, "erased", ("own",))
        kept = mean_of(rows, "kept", KEPT) / shown if shown else 1.0
        rates[name] = (min(erased, kept), erased, kept)
    best = max(sorted(rates), key=rates.get)
    (settings,) = [each for each in grid["settings"] if each["name"] == best]
    selected.write_text(json.dumps(settings, sort_keys=True) + "\n", encoding="utf-8")
    rows = [row("selected", 1, setting=best), row("tuning_erased", rates[best][1]), row("tuning_kept", rates[best][2])]
    write(chosen, rows, family=family, model=model, method=method)
    return {"setting": best, "rates": {name: list(values) for name, values in rates.items()}}


def mean_of(rows, metric: str, roles: tuple[str, ...]) -> float:
    """The mean of a metric over roles of prompts."""
    return float(rows[(rows["metric"] == metric) & rows["prompts"].isin(roles)]["value"].mean())


if __name__ == "__main__":
    step(select)
