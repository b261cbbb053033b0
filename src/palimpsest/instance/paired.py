"""Paired comparison of a study's settings with one of them, over targets and seeds."""

import numpy as np
import scipy

from palimpsest.metrics.measurements import read, row, write
from palimpsest.run import Input, Output, UserError, step

METRICS = ("similarity_target", "similarity_pretrained", "perceptual", "ssim", "frechet_pretrained", "frechet_data")


def paired(measurements: Input, differences: Output, *, model: str, method: str, study: str, against: str) -> None:
    """Write the mean difference of each metric to the setting `against`, with its 95 % t interval and p value.

    A pair is one list of targets and one seed; with fewer than two pairs there is no interval.
    """
    table, rows = read([measurements]), []
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
    write(differences, rows, family="instance", model=model, method=method, study=study)


def t_interval(gaps: np.ndarray) -> tuple[float, float, float]:
    """The 95 % t interval of a mean, and the two-sided p value that it is zero; NaN for fewer than two values."""
    if len(gaps) < 2:
        return np.nan, np.nan, np.nan
    error = gaps.std(ddof=1) / np.sqrt(len(gaps))
    half = scipy.stats.t.ppf(0.975, len(gaps) - 1) * error
    p = 1.0 if error == 0 and gaps.mean() == 0 else scipy.stats.ttest_1samp(gaps, 0).pvalue
    return float(gaps.mean() - half), float(gaps.mean() + half), float(p)


if __name__ == "__main__":
    step(paired)
