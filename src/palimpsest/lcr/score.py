"""Score every code: how much it speaks for the forget set rather than the retain set."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse, stats

from palimpsest.lcr.arrays import load_codes, load_counts, load_masks, same_network
from palimpsest.lcr.codes import image_histograms, resampled_counts, resampling_weights
from palimpsest.lcr.selection import g_squared, log_odds
from palimpsest.metrics.intervals import benjamini_hochberg, percentiles
from palimpsest.options import Amount, Count, Positive
from palimpsest.run import Input, Output, UserError, step

LEGACY_EPSILON = 1e-8
EMPTY = {"z": np.nan, "p": np.nan, "q": np.nan, "low": np.nan, "high": np.nan}


@dataclass(frozen=True)
class Side:
    """One side of a contrast: cells (K,) and images (K,) of each code, histograms (n, K) and bootstrap (draws, n)."""

    cells: np.ndarray
    images: np.ndarray
    histograms: sparse.csr_array
    weights: np.ndarray


def score(
    forget_counts: Input,
    retain_counts: Input,
    forget_codes: Input,
    forget_masks: Input,
    safe_fit_codes: Input,
    scores: Output,
    *,
    codebook_size: Positive,
    prior: Amount,
    draws: Positive,
    seed: Count = 0,
) -> dict:
    """Write one row per score, contrast and code.

    Contrasts: `whole` (all cells of both sets), `masked` (forget cells in the masks against all retain cells), `paired`
    (cells in the masks against the other cells of the same images). Scores: `ratio_legacy` (ratio of raw counts),
    `log_odds` (low, high: 95 % bootstrap over images), `mutual_information` (bits, presence in an image against the
    set; z is its signed root), `auc` (share of an image's cells). Rank 1 is the code that speaks most for the concept.
    """
    origin = same_network(forget_codes, forget_masks, forget_counts, safe_fit_codes, retain_counts)
    codes = load_codes(forget_codes, codebook_size)
    masks = load_masks(forget_masks, codes.shape, filled=True)
    background = load_codes(safe_fit_codes, codebook_size)
    forget = _counts(forget_counts, forget_codes, codes, codebook_size)
    retain = _counts(retain_counts, safe_fit_codes, background, codebook_size)
    rng = np.random.default_rng(seed)
    weights = resampling_weights(len(codes), draws, rng)
    everywhere, inside = (image_histograms(codes, codebook_size, part) for part in (None, masks))
    masked = np.flatnonzero(inside.sum(1))
    outside = (everywhere - inside)[masked]
    sides = {
        "all": Side(forget["all"], forget["images"], everywhere, weights),
        "inside": Side(forget["inside"], forget["images_inside"], inside[masked], weights[:, masked]),
        # The other cells of the images that have a mask, not of the whole set: so the counts cannot serve here.
        "outside": Side(outside.sum(0), outside.count_nonzero(0), outside, weights[:, masked]),
        "retain": Side(
            retain["all"],
            retain["images"],
            image_histograms(background, codebook_size),
            resampling_weights(len(background), draws, rng),
        ),
    }
    contrasts = {"whole": ("all", "retain"), "masked": ("inside", "retain"), "paired": ("inside", "outside")}
    levels = max(codes[0].size, background[0].size)
    table = pd.concat(
        [
            contrast_scores(sides[first], sides[second], prior, levels).assign(contrast=name)
            for name, (first, second) in contrasts.items()
        ],
        ignore_index=True,
    )
    order = ["score", "contrast", "code", "live", "forget", "retain", "value", "z", "p", "q", "low", "high", "rank"]
    table[order].to_parquet(scores, index=False)
    found = table[(table["score"] == "log_odds") & (table["q"] <= 0.05) & (table["z"] > 0)]
    return {"significant": found.groupby("contrast")["code"].count().to_dict(), **origin}


def _counts(path: Path, codes_path: Path, codes: np.ndarray, codebook_size: int) -> dict[str, np.ndarray]:
    table = load_counts(path, codebook_size)
    if table["all"].sum() != codes.size:
        raise UserError(
            f"{path} counts {table['all'].sum()} cells, {codes_path} has {codes.size}: they belong to different sets. "
            "Run palimpsest.lcr.count again."
        )
    return {name: table[name].to_numpy() for name in table}


def contrast_scores(forget: Side, retain: Side, prior: float, levels: int) -> pd.DataFrame:
    """All scores of one contrast, K rows each. `levels`: steps in which shares of an image's cells are compared."""
    live = forget.cells + retain.cells > 0
    parts = {
        "ratio_legacy": legacy_ratio(forget, retain),
        "log_odds": dirichlet(forget, retain, prior),
        "mutual_information": mutual_information(forget, retain),
        "auc": rank_sum(forget, retain, levels),
    }
    tables = []
    for name, columns in parts.items():
        part = pd.DataFrame({"code": np.arange(len(live)), "live": live, **EMPTY, **columns})
        if "p" in columns:
            part.loc[live, "q"] = benjamini_hochberg(part.loc[live, "p"].to_numpy())
            part.loc[~live, ["z", "p"]] = np.nan
        key = part["value" if name in ("ratio_legacy", "auc") else "z"].to_numpy()
        if name != "ratio_legacy":
            key = np.where(live, key, -np.inf)
        order = np.argsort(-key, kind="stable")
        part.loc[order, "rank"] = np.arange(1, len(part) + 1)
        tables.append(part.assign(score=name, forget=forget.cells, retain=retain.cells, rank=part["rank"].astype(int)))
    return pd.concat(tables, ignore_index=True)


def legacy_ratio(forget: Side, retain: Side) -> dict[str, np.ndarray]:
    """The published score: the ratio of raw counts, each plus 1e-8; sets of different size are not made comparable."""
    return {"value": (forget.cells + LEGACY_EPSILON) / (retain.cells + LEGACY_EPSILON)}


def dirichlet(forget: Side, retain: Side, prior: float) -> dict[str, np.ndarray]:
    """Log-odds with a Dirichlet prior (Monroe et al. 2008): z and p take cells, low and high images, as independent."""
    value, z = log_odds(forget.cells, retain.cells, prior)
    drawn = (resampled_counts(side.histograms, side.weights) for side in (forget, retain))
    fewer = min(side.histograms.shape[0] for side in (forget, retain))
    low, high = np.quantile(log_odds(*drawn, prior)[0], percentiles(fewer), axis=0)
    return {"value": value, "z": z, "p": 2 * stats.norm.sf(np.abs(z)), "low": low, "high": high}


def mutual_information(forget: Side, retain: Side) -> dict[str, np.ndarray]:
    """Bits that the presence of a code in an image tells about the image's set; p by the G test."""
    first, second = forget.histograms.shape[0], retain.histograms.shape[0]
    statistic = g_squared(forget.images, first, retain.images, second)
    direction = np.sign(forget.images * second - retain.images * first)
    return {
        "value": statistic / (2 * (first + second) * np.log(2)),
        "z": direction * np.sqrt(statistic),
        "p": stats.chi2.sf(statistic, 1),
    }


def rank_sum(forget: Side, retain: Side, levels: int) -> dict[str, np.ndarray]:
    """AUC of the share of an image's cells that hold the code, with its normal approximation (Mann & Whitney 1947).

    Shares are compared in steps of 1/levels, rounded up; they are exact when every image has `levels` cells.
    """
    tables = [level_table(side.histograms, levels) for side in (forget, retain)]
    images = [float(side.histograms.shape[0]) for side in (forget, retain)]
    below = np.cumsum(tables[1], axis=1) - tables[1]
    wins = (tables[0] * (below + tables[1] / 2)).sum(1)
    ties = tables[0] + tables[1]
    total = sum(images)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = total + 1 - (ties**3 - ties).sum(1) / (total * (total - 1))
        variance = np.maximum(images[0] * images[1] / 12 * variance, 0)
        value = wins / (images[0] * images[1])
        z = np.where(variance > 0, (wins - images[0] * images[1] / 2) / np.sqrt(variance), 0.0)
    return {"value": value, "z": z, "p": 2 * stats.norm.sf(np.abs(z))}


def level_table(histograms: sparse.csr_array, levels: int) -> np.ndarray:
    """How many images hold each code in each share of their cells: (K, levels + 1) float, level 0 is absence."""
    images, codebook_size = histograms.shape
    area = np.repeat(histograms.sum(1), np.diff(histograms.indptr)).astype(np.int64)
    level = -(-histograms.data.astype(np.int64) * levels // area)
    keys = histograms.indices.astype(np.int64) * (levels + 1) + level
    table = np.bincount(keys, minlength=codebook_size * (levels + 1)).reshape(codebook_size, levels + 1).astype(float)
    table[:, 0] = images - table.sum(1)
    return table


if __name__ == "__main__":
    step(score)
