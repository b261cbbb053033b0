"""Choose a method's setting on the tuning targets, by one rule for all methods.

Of the grid's settings, those that forgot (similarity at most 0.4 for every tuning target) and whose samples are not
less often plausible than the pretrained model's by Fisher's exact test; of these, the first whose Fréchet distance to
the pretrained model's samples is within one standard error of the smallest, pair by pair over targets and seeds, for a
grid lists the gentlest setting first (the rule of one standard error, Breiman et al. 1984, section 3.4.3). Where none
of those that forgot stayed plausible, the same choice among all that forgot; where none forgot, the one with the lowest
similarity.
"""

import json

import pandas as pd
import scipy  # scipy.stats loads when first used

from palimpsest.instance.published import LIMIT
from palimpsest.metrics.measurements import read, row, write
from palimpsest.options import Share
from palimpsest.run import Input, Output, step

READ = ("perceptual", "plausible", "frechet_pretrained")


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
    worst = table[table["metric"] == "worst_similarity"].groupby("setting")["value"].max()
    forgot = means[worst.reindex(means.index) <= LIMIT]
    kept = [fewer(one, share, count) > level for one in forgot["plausible"]]
    good = forgot[kept]
    left = good if len(good) else forgot
    names = [each["name"] for each in grid["settings"] if each["name"] in left.index]
    best = nearest(table, names) if names else worst.idxmin()
    (settings,) = [each for each in grid["settings"] if each["name"] == best]
    selected.write_text(json.dumps(settings, sort_keys=True) + "\n", encoding="utf-8")
    rows = [row("selected", 1, setting=best), row("passed_settings", len(good), n=len(means))]
    # To be laid beside what the same setting reads on other targets: the worst similarity, and means.
    rows.append(row("tuning_similarity", worst[best]))
    rows += [row(f"tuning_{metric}", means.loc[best, metric]) for metric in READ if metric in means]
    write(chosen, rows, family="instance", model=model, method=method)
    return {"setting": best, "passed": list(good.index)}


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
