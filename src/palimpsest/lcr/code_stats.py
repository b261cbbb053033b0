"""Statistics of the codes under the masks, each against boxes of the same form at random places of a background set."""

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import xlogy

from palimpsest.lcr.arrays import load_codes, load_masks, same_network
from palimpsest.lcr.codes import (
    count_codes,
    move_cells,
    neighbours_inside,
    resampled_counts,
    resampling_weights,
)
from palimpsest.lcr.selection import shrunken_log_odds
from palimpsest.metrics.measurements import row, write
from palimpsest.options import Count, Positive
from palimpsest.run import Input, Output, step

PAIR_MINIMUM = 5  # a pair seen less often has no stable pointwise mutual information
TABLE_ROWS = 30


def code_stats(
    codes: Input,
    masks: Input,
    safe_fit_codes: Input,
    table: Output,
    measurements: Output,
    *,
    model: str,
    preset: str,
    set: str,
    codebook_size: Positive,
    draws: Positive,
    seed: Count = 0,
) -> dict:
    """Write the most frequent codes in the masks, and every statistic with its null.

    A measured row has the interval of a bootstrap over images where one makes sense; `<metric>_null` has the mean and
    the 2.5 and 97.5 % quantiles over `draws` placements.
    """
    origin = same_network(codes, masks, safe_fit_codes)
    grid = load_codes(codes, codebook_size)
    cells = np.asarray(load_masks(masks, grid.shape, filled=True))
    background = load_codes(safe_fit_codes, codebook_size)
    live = int(((count_codes(grid, codebook_size) + count_codes(background, codebook_size)) > 0).sum())
    image, line, column = np.nonzero(cells)
    mask = np.unique(image, return_inverse=True)[1]
    count = int(mask[-1]) + 1
    pairs = [
        np.concatenate(part) for part in zip(*(neighbours_inside(cells, d) for d in ((0, 1), (1, 0))), strict=True)
    ]
    rng = np.random.default_rng(seed)

    values = np.asarray(grid[image, line, column], np.int64)
    measured = describe(values, mask, count, pairs, codebook_size, live)
    nulls = []
    for _ in range(draws):
        rows, columns = move_cells(mask, line, column, background.shape[1:], rng)
        picked = rng.integers(len(background), size=count)[mask]
        drawn = np.asarray(background[picked, rows, columns], np.int64)
        nulls.append(describe(drawn, mask, count, pairs, codebook_size, live))
    null = pd.DataFrame(nulls)
    spread = deviations(values, mask, count, codebook_size, live, resampling_weights(count, draws, rng))

    measurement_rows = [row("maximum_bits_live", np.log2(live), n=live)]
    for metric, value in measured.items():
        margin = 1.96 * spread.get(metric, np.nan)
        low, high = null[metric].quantile([0.025, 0.975])
        measurement_rows += [
            row(metric, value, value - margin, value + margin, n=count),
            row(f"{metric}_null", null[metric].mean(), low, high, n=draws),
        ]
    write(measurements, measurement_rows, family="lcr", model=model, set=set, preset=preset, seed=seed)
    frequent_codes(values, count_codes(background, codebook_size)).to_parquet(table, index=False)
    return {"masks": count, "cells": len(values), "live": live, **origin}


def distribution(counts: np.ndarray, live: int) -> dict[str, np.ndarray]:
    """Statistics of code counts (..., K). Entropy is the plug-in estimate; Miller & Madow (1955) correct its bias."""
    cells = counts.sum(-1)
    unique = (counts > 0).sum(-1)
    entropy = np.log2(cells) - xlogy(counts, counts).sum(-1) / cells / np.log(2)
    largest = -np.sort(-counts, axis=-1)[..., :50]
    return {
        "unique_codes": unique,
        "coverage_codebook": unique / counts.shape[-1],
        "coverage_live": unique / live,
        "entropy_bits": entropy,
        "entropy_bits_miller_madow": entropy + (unique - 1) / (2 * cells * np.log(2)),
        "entropy_share_of_live": entropy / max(np.log2(live), np.finfo(float).tiny),
        "perplexity": 2**entropy,
        "top10_share": largest[..., :10].sum(-1) / cells,
        "top50_share": largest.sum(-1) / cells,
    }


def describe(
    values: np.ndarray, mask: np.ndarray, masks: int, pairs: list[np.ndarray], codebook_size: int, live: int
) -> dict[str, float]:
    """All statistics of the codes `values` (m,) of cells (m,) that belong to `masks` masks.

    histogram_cosine: mean cosine between the histograms of two masks. jensen_shannon_bits: entropy of the mean of their
    distributions less their mean entropy, 0 when all masks are alike. pair_pmi_max: highest pointwise mutual
    information, in bits, of two neighbouring codes (pairs: indices of the cells) that meet at least five times.
    """
    counts = np.bincount(values, minlength=codebook_size)
    histograms = histograms_of(values, mask, masks, codebook_size)
    area = histograms.sum(1)
    each = histograms.data / np.repeat(area, np.diff(histograms.indptr))
    mean = np.bincount(histograms.indices, weights=each, minlength=codebook_size) / masks
    divergence = (xlogy(each, each).sum() / masks - xlogy(mean, mean).sum()) / np.log(2)
    return {
        **{metric: float(value) for metric, value in distribution(counts, live).items()},
        "histogram_cosine": float(mean_cosine(histograms, np.ones((1, masks)))[0]),
        "jensen_shannon_bits": float(divergence),
        "pair_pmi_max": highest_pmi(values[pairs[0]], values[pairs[1]], codebook_size),
    }


def histograms_of(values: np.ndarray, mask: np.ndarray, masks: int, codebook_size: int) -> sparse.csr_array:
    """The histogram (masks, codebook_size) of the codes of each mask."""
    keys, counts = np.unique(mask * codebook_size + values, return_counts=True)
    return sparse.csr_array((counts, np.divmod(keys, codebook_size)), shape=(masks, codebook_size))


def mean_cosine(histograms: sparse.csr_array, weights: np.ndarray) -> np.ndarray:
    """Mean cosine (draws,) over pairs of different masks, each mask taken weights (draws, masks) times."""
    norms = np.sqrt((histograms**2).sum(1))
    directions = sparse.diags_array(1 / norms) @ histograms
    # |sum of unit vectors|^2 is the sum of all pairwise cosines; a mask with itself gives 1.
    same = (weights**2).sum(1)
    together = ((weights @ directions) ** 2).sum(1)
    pairs = weights.sum(1) ** 2 - same
    return np.where(pairs > 0, (together - same) / np.maximum(pairs, 1), np.nan)


def highest_pmi(first: np.ndarray, second: np.ndarray, codebook_size: int) -> float:
    """The highest log2 of p(first, second) / (p(first) p(second)) of ordered pairs (m,), (m,); NaN if all are rare."""
    keys, together = np.unique(first * codebook_size + second, return_counts=True)
    keys, together = keys[together >= PAIR_MINIMUM], together[together >= PAIR_MINIMUM]
    if not len(keys):
        return np.nan
    apart = [np.bincount(part, minlength=codebook_size) for part in (first, second)]
    left, right = np.divmod(keys, codebook_size)
    return float(np.log2(together * len(first) / (apart[0][left] * apart[1][right])).max())


def deviations(
    values: np.ndarray, mask: np.ndarray, masks: int, codebook_size: int, live: int, weights: np.ndarray
) -> dict[str, float]:
    """Bootstrap standard deviation of the statistics that resampling images does not distort by itself.

    A resample always has fewer distinct codes, and repeats masks: so no coverage and no divergence between masks.
    """
    histograms = histograms_of(values, mask, masks, codebook_size)
    drawn = distribution(resampled_counts(histograms, weights), live)
    drawn = {metric: part for metric, part in drawn.items() if metric != "unique_codes" and "coverage" not in metric}
    drawn["histogram_cosine"] = mean_cosine(histograms, weights)
    return {metric: float(np.std(part, ddof=1)) for metric, part in drawn.items()}


def frequent_codes(values: np.ndarray, background: np.ndarray) -> pd.DataFrame:
    """The most frequent codes of the masks, with their log-odds against the background counts (K,)."""
    counts = np.bincount(values, minlength=len(background))
    order = np.argsort(-counts, kind="stable")[:TABLE_ROWS]
    order = order[counts[order] > 0]
    share = counts[order] / counts.sum()
    return pd.DataFrame(
        {
            "code": order,
            "count": counts[order],
            "share": share,
            "cumulative_share": np.cumsum(share),
            "log_odds": shrunken_log_odds(counts, background)[order],
        }
    )


if __name__ == "__main__":
    step(code_stats)
