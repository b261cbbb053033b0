"""Paired comparison of a study's settings with one of them, over targets and seeds."""

from palimpsest.metrics.intervals import detectable, t_interval
from palimpsest.metrics.measurements import read, row, write
from palimpsest.run import Input, Output, UserError, step

METRICS = ("similarity_target", "similarity_pretrained", "perceptual", "ssim", "frechet_pretrained", "frechet_data")


def paired(measurements: Input, differences: Output, *, model: str, method: str, study: str, against: str) -> None:
    """Write the mean difference of each metric to the setting `against`, with its 95 % t interval, its p value and the
    difference that so many pairs would find with a power of 80 %.

    A pair is one list of targets and one seed; with fewer than two pairs there is no interval.
    """
    table, rows = read([measurements]), []
    table = table[table["targets"] != "mean"]
    if against not in set(table["setting"]):
        raise UserError(f"the study {study} has no setting {against!r}; there are {sorted(set(table['setting']))}")
    for metric in METRICS:
        values = table[table["metric"] == metric].pivot_table(
            index=["targets", "surrogate", "seed"], columns="setting", values="value"
        )
        for setting in values.columns.drop(against):
            gaps = (values[setting] - values[against]).dropna().to_numpy()
            low, high, p = t_interval(gaps)
            labels = {"setting": setting, "n": len(gaps)}
            rows.append(row(f"paired_{metric}", gaps.mean(), low, high, **labels))
            rows.append(row(f"paired_p_{metric}", p, **labels))
            rows.append(row(f"detectable_{metric}", detectable(gaps), **labels))
    write(differences, rows, family="instance", model=model, method=method, study=study)


if __name__ == "__main__":
    step(paired)
