"""Choose a method's setting on the tuning's concepts, which are not reported, by one rule for all methods.

A setting is as good as the worse of two rates: of the prompts that name the concept, those that do not show it any
more; how much of what prompts ask for beside it is shown as before, by the same prompts, neighbours and the rest. Of
the settings within one standard error of the best the first is taken, for a grid lists the gentlest first (the rule of
one standard error, Breiman et al. 1984, section 3.4.3): what no prompts told apart, chance does not decide.
"""

import json

import numpy as np

from palimpsest.metrics.measurements import read, row, write
from palimpsest.run import Input, Output, step
from palimpsest.worlds.concepts import ALL

KEPT = ("own", "neighbour", "rest")
DRAWS = 1000


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
    place = int(choice(shares, counts, shown))
    redrawn = np.random.default_rng(0).binomial(counts.astype(int), shares, (DRAWS, *shares.shape)) / counts
    again = float((choice(redrawn, counts, shown) == place).mean())
    rates = {name: [float(each) for each in worse_of(some, shown)] for name, some in zip(names, shares, strict=True)}
    best = names[place]
    selected.write_text(json.dumps(grid["settings"][place], sort_keys=True) + "\n", encoding="utf-8")
    rows = [row("selected", 1, setting=best), row("selected_again", again, setting=best, n=DRAWS)]
    rows += [row("tuning_erased", rates[best][1]), row("tuning_kept", rates[best][2])]
    write(chosen, rows, family=family, model=model, method=method)
    return {"setting": best, "again": again, "rates": rates}


def worse_of(shares: np.ndarray, shown: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How good a setting is, what is erased and what is kept (...), from these rates (..., 1 + roles)."""
    erased = shares[..., 0]
    kept = shares[..., 1:].mean(-1) / shown if shown else np.ones_like(erased)
    return np.minimum(erased, kept), erased, kept


def choice(shares: np.ndarray, counts: np.ndarray, shown: float) -> np.ndarray:
    """The place (...) of the setting to take, from rates (..., settings, 1 + roles) over so many prompts each.

    A rate counts as a share of its prompts, with two of either kind added, so that one of all prompts is not certain.
    """
    good, erased, kept = worse_of(shares, shown)
    added = (shares * counts + 2) / (counts + 4)
    variance = added * (1 - added) / (counts + 4)
    of_kept = np.sqrt(variance[..., 1:].sum(-1)) / (shares.shape[-1] - 1) / shown if shown else 0.0
    errors = np.where(erased <= kept, np.sqrt(variance[..., 0]), of_kept)
    best = good.argmax(-1)[..., None]
    limit = np.take_along_axis(good, best, -1) - np.take_along_axis(errors, best, -1)
    return (good >= limit).argmax(-1)


if __name__ == "__main__":
    step(select)
