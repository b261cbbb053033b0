"""Paired comparison of a study's settings, or of its methods, with one of them, over targets and seeds."""

from typing import Literal

from palimpsest.metrics.intervals import detectable, t_interval
from palimpsest.metrics.measurements import read, row, write
from palimpsest.run import Input, Output, UserError, step

METRICS = ("similarity_target", "similarity_pretrained", "perceptual", "ssim", "frechet_pretrained", "frechet_data")
# What makes two runs a pair; methods that take no surrogate are paired with one that does.
PAIR = {"setting": ["targets", "surrogate", "seed"], "method": ["targets", "seed"]}


def paired(
    measurements: list[Input],
    differences: Output,
    *,
    model: str,
    study: str,
    against: str,
    by: Literal["setting", "method"] = "setting",
    method: str = "",
) -> None:
    """Write the mean difference of each metric to the setting or method `against`, with its 95 % t interval, its p
    value and the difference that so many pairs would find with a power of 80 %.

    A pair is one list of targets and one seed; with fewer than two pairs there is no interval. Methods are compared
    over lists of equally many targets, labelled `count`. method: whose settings they are.
    """
    table, rows = read(measurements), []
    table = table[(table["targets"] != "mean") & table["metric"].isin(METRICS)].copy()
    if against not in set(table[by]):
        raise UserError(f"the study {study} has no {by} {against!r}; there are {sorted(set(table[by]))}")
    table["count"] = table["targets"].str.count(r"\+") + 1 if by == "method" else 0
    for (count, metric), part in table.groupby(["count", "metric"]):
        values = part.pivot_table(index=PAIR[by], columns=by, values="value")
        for name in values.columns.drop(against):
            gaps = (values[name] - values[against]).dropna().to_numpy()
            low, high, p = t_interval(gaps)
            labels = {by: name, "n": len(gaps), **({"count": count} if count else {})}
            rows.append(row(f"paired_{metric}", gaps.mean(), low, high, **labels))
            rows.append(row(f"paired_p_{metric}", p, **labels))
            rows.append(row(f"detectable_{metric}", detectable(gaps), **labels))
    common = {"method": method} if by == "setting" else {}
    write(differences, rows, family="instance", model=model, study=study, **common)


if __name__ == "__main__":
    step(paired)
