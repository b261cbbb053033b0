"""Choose a method's setting on the tuning's concepts, which are not reported, by one rule for all methods.

The two rates of `choosing`: of the prompts that name the concept, those that do not show it any more; how much of what
prompts ask for beside it is shown as before, by the same prompts, neighbours and the rest.
"""

import json

import numpy as np

from palimpsest.judges.choosing import DRAWS, taken, worse_of
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
    """selected: JSON of the chosen setting; chosen: which one it was, both rates, and how often it is chosen again.

    measurements: of the tuning; baseline: of the networks, among them the pretrained one. grid: {"settings": [{"name",
    "training", "settings"}, ...]}. What is kept is a share of what the pretrained model shows of the same prompts: all
    of it where that shows nothing, as random weights do.
    """
    table, before = read([measurements]), read([baseline])
    concepts = set(table["concept"]) - {ALL}
    before = before[(before["method"] == "pretrained") & before["concept"].isin(concepts)]
    shown = before[(before["metric"] == "kept") & before["prompts"].isin(KEPT)]["value"].mean()
    if shown == 0:
        print(f"{model} shows nothing of what these prompts ask for: all of it counts as kept")
    names = [each["name"] for each in grid["settings"]]
    found = table[table["concept"] == ALL].groupby(["setting", "metric", "prompts"]).agg({"value": "mean", "n": "sum"})
    # What prompts ask for beside the concept is not known of photographs' own.
    measured = [("kept", role) for role in KEPT if (names[0], "kept", role) in found.index]
    of_each = [[found.loc[(name, *rate)] for rate in (("erased", "own"), *measured)] for name in names]
    shares, counts = (np.array([[each[key] for each in some] for some in of_each]) for key in ("value", "n"))
    place, again = taken(shares, counts, shown)
    rates = {name: [float(each) for each in worse_of(some, shown)] for name, some in zip(names, shares, strict=True)}
    best = names[place]
    selected.write_text(json.dumps(grid["settings"][place], sort_keys=True) + "\n", encoding="utf-8")
    rows = [row("selected", 1, setting=best), row("selected_again", again, setting=best, n=DRAWS)]
    rows += [row("tuning_erased", rates[best][1]), row("tuning_kept", rates[best][2])]
    write(chosen, rows, family=family, model=model, method=method)
    return {"setting": best, "again": again, "rates": rates}


if __name__ == "__main__":
    step(select)
