"""Choose a method's setting on the tuning targets, by one rule for all methods.

Of the grid's settings, those that forgot (similarity at most 0.4 for every tuning target) and whose samples are not
less often plausible than the pretrained model's by Fisher's exact test; of these, the first whose Fréchet distance to
the pretrained model's samples is within one standard error of the smallest, pair by pair over targets and seeds, for a
grid lists the gentlest setting first (the rule of one standard error, Breiman et al. 1984, section 3.4.3). Where none
of those that forgot stayed plausible, the same choice among all that forgot; where none forgot, the one with the lowest
similarity. How often chance would choose it again is written beside.
"""

import json
from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
import scipy  # scipy.stats loads when first used

from palimpsest.instance.published import LIMIT
from palimpsest.metrics.measurements import read, row, write
from palimpsest.options import Share
from palimpsest.run import Input, Output, step

READ = ("perceptual", "plausible", "frechet_pretrained")
DRAWS = 500


def select(
    measurements: Input,
    baseline: Input,
    selected: Output,
    chosen: Output,
    *,
    method: str,
    model: str,
    grid: dict,
    level: Share = 0.05,
) -> dict:
    """selected: JSON of the chosen overrides; chosen: which one it was, and what it read there, as measurements.

    grid: {"settings": [{"name", "training", "settings"}, ...]}, whose names the tuning's measurements carry. level: of
    the one-sided test, and so how often a model that is as plausible as before is refused at most.
    """
    table, before = read([measurements]), read([baseline])
    table = table[table["targets"] != "mean"]
    # One set of samples is drawn of each model, whatever the targets: they are not counted again for each.
    shares = before[(before["metric"] == "plausible") & (before["targets"] != "mean")]
    share, count = float(shares["value"].mean()), int(shares["n"].min())
    means = table.pivot_table(index="setting", columns="metric", values="value", aggfunc="mean")
    means = means.loc[[each["name"] for each in grid["settings"] if each["name"] in means.index]]
    worst = table[table["metric"] == "worst_similarity"].groupby("setting")["value"].max()[means.index]
    among = cache(lambda names: nearest(table, list(names)))
    stays = cache(lambda plausible: fewer(plausible / count, share, count) > level)

    def choice(worst: pd.Series, plausible: pd.Series) -> tuple[str, tuple[str, ...]]:
        """The setting, and those that passed, of the highest similarities and of how many samples are plausible."""
        forgot = tuple(worst.index[worst <= LIMIT])
        good = tuple(name for name in forgot if stays(int(plausible[name])))
        return (among(good or forgot) if forgot else worst.idxmin()), good

    best, good = choice(worst, (means["plausible"] * count).round())
    again = chosen_again(choice, best, table, means["plausible"], count)
    (settings,) = [each for each in grid["settings"] if each["name"] == best]
    selected.write_text(json.dumps(settings, sort_keys=True) + "\n", encoding="utf-8")
    rows = [row("selected", 1, setting=best), row("passed_settings", len(good), n=len(means))]
    rows.append(row("selected_again", again, setting=best, n=DRAWS))
    # To be laid beside what the same setting reads on other targets: the worst similarity, and means.
    rows.append(row("tuning_similarity", worst[best]))
    rows += [row(f"tuning_{metric}", means.loc[best, metric]) for metric in READ if metric in means]
    write(chosen, rows, family="instance", model=model, method=method)
    return {"setting": best, "passed": list(good)}


def chosen_again(choice: Callable, best: str, table: pd.DataFrame, plausible: pd.Series, count: int) -> float:
    """How often the setting would be chosen again, were similarities and plausible samples drawn anew.

    Similarities by their intervals, a normal each; the number of plausible samples of so many by their share.
    """
    rng, alike = np.random.default_rng(0), table[table["metric"] == "similarity_target"]
    errors = ((alike["high"] - alike["low"]) / (2 * scipy.special.ndtri(0.975))).fillna(0).to_numpy()
    values, rows_of, same = alike["value"].to_numpy(), alike.reset_index().groupby("setting").indices, 0
    for _ in range(DRAWS):
        drawn = rng.normal(values, errors)
        worst = pd.Series({name: drawn[rows_of[name]].max() for name in plausible.index})
        same += choice(worst, pd.Series(rng.binomial(count, plausible), plausible.index))[0] == best
    return same / DRAWS


def nearest(table: pd.DataFrame, names: list[str]) -> str:
    """The first of these settings that no runs tell from the nearest to the pretrained model; of one run that."""
    runs = table[table["metric"] == "frechet_pretrained"].pivot_table("value", ["targets", "seed"], "setting")[names]
    gaps = runs.sub(runs[runs.mean().idxmin()], axis=0)
    return (gaps.mean() <= gaps.sem().fillna(0)).idxmax()


def fewer(share: float, before: float, count: int) -> float:
    """The p value that a share of so many samples is smaller than the one before, of as many (Fisher's exact test)."""
    now, then = round(share * count), round(before * count)
    return float(scipy.stats.fisher_exact([[now, count - now], [then, count - then]], alternative="less").pvalue)


if __name__ == "__main__":
    step(select)
