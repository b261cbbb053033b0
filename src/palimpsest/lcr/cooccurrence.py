"""Combinations of codes: neighbouring pairs and patches in the masks against the retain set, with nulls."""

from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import xlogy

from palimpsest.lcr.arrays import load_codes, load_masks, same_network
from palimpsest.lcr.codes import cover, neighbours_inside, pair_counts
from palimpsest.lcr.codes import patches as number_patches
from palimpsest.lcr.selection import g_squared
from palimpsest.metrics.intervals import benjamini_hochberg
from palimpsest.metrics.measurements import row, write
from palimpsest.options import Count, Positive, Size
from palimpsest.run import Input, Output, step

DIRECTIONS = {"horizontal": (0, 1), "vertical": (1, 0), "falling": (1, 1), "rising": (1, -1)}
PATCHES = {"2x2": (2, 2), "3x3": (3, 3)}
TABLE_ROWS = 20
LEGACY_EPSILON = 1e-8


def cooccurrence(
    forget_codes: Input,
    forget_masks: Input,
    safe_fit_codes: Input,
    pairs: Output,
    table: Output,
    patches: Output,
    measurements: Output,
    *,
    model: str,
    preset: str,
    codebook_size: Positive,
    min_count: Positive,
    ratio: Size,
    draws: Positive,
    neighbourhood: Literal["4", "8"] = "4",
    seed: Count = 0,
) -> dict:
    """Write pair counts of the retain set, and the pairs and patches that are more frequent in the forget set.

    pairs: .npz, int32 (codebook_size, codebook_size) for each direction; [a, b] counts code a left of (above) code b,
    each adjacency once. A pair is tested when it occurs min_count times in the masks. A patch is explicit when it
    occurs min_count times in the forget images and its ratio of raw counts to the retain set exceeds `ratio`.
    """
    origin = same_network(forget_codes, forget_masks, safe_fit_codes)
    codes = load_codes(forget_codes, codebook_size)
    masks = np.asarray(load_masks(forget_masks, codes.shape, filled=True))
    retain = load_codes(safe_fit_codes, codebook_size)
    directions = list(DIRECTIONS)[: 2 if neighbourhood == "4" else 4]
    tables = {name: pair_counts(retain, codebook_size, DIRECTIONS[name]) for name in directions}
    totals = {name: int(counts.sum(dtype=np.int64)) for name, counts in tables.items()}
    np.savez_compressed(pairs, **tables)

    inside = np.asarray(codes[masks], np.int64)
    places = {name: neighbours_inside(masks, DIRECTIONS[name]) for name in directions}
    found = score_pairs(inside, places, tables, totals, min_count)
    rng = np.random.default_rng(seed)
    nulls = []
    for _ in range(draws):
        shuffled = rng.permutation(inside)
        null = score_pairs(shuffled, places, tables, totals, min_count)
        nulls.append((significant(null), mutual_information(shuffled, places, codebook_size)))
    rows = []
    estimates = (significant(found), mutual_information(inside, places, codebook_size))
    for metric, value, null in zip(
        ("significant_pairs", "pair_mutual_information_bits"), estimates, zip(*nulls, strict=True), strict=True
    ):
        low, high = np.quantile(null, [0.025, 0.975])
        rows += [row(metric, value, n=len(found)), row(f"{metric}_null", np.mean(null), low, high, n=draws)]

    parts = []
    for name, shape in PATCHES.items():
        part, patch_rows = score_patches(codes, masks, retain, shape, min_count, ratio, rng)
        parts.append(part.assign(patch=name))
        rows += [{**given, "patch": name} for given in patch_rows]

    top = found[found["excess"]].sort_values("g2", ascending=False, kind="stable").head(TABLE_ROWS)
    top[["code_a", "code_b", "direction", "count", "retain", "pmi", "g2", "q"]].to_parquet(table, index=False)
    pd.concat(parts, ignore_index=True).to_parquet(patches, index=False)
    write(measurements, rows, family="lcr", model=model, preset=preset, neighbourhood=neighbourhood, seed=seed)
    return {"pairs_tested": len(found), "cells_inside": len(inside), **origin}


def score_pairs(
    values: np.ndarray,
    places: dict[str, tuple[np.ndarray, np.ndarray]],
    tables: dict[str, np.ndarray],
    totals: dict[str, int],
    min_count: int,
) -> pd.DataFrame:
    """Test every pair of neighbouring codes that occurs min_count times in the masks against the retain set.

    values: codes (m,) of the cells in the masks; places: indices of both cells of every adjacency, by direction;
    tables and totals: pair counts of the retain set, and their sum. pmi is the pointwise mutual information within the
    masks (bits), g2 the log-likelihood ratio against the retain set, q its false discovery rate over all directions,
    `excess` whether the pair is the more frequent in the masks.
    """
    parts = []
    for direction, (first, second) in places.items():
        table = tables[direction]
        left, right = values[first], values[second]
        keys, counts = np.unique(left * len(table) + right, return_counts=True)
        keys, counts = keys[counts >= min_count], counts[counts >= min_count]
        code_a, code_b = np.divmod(keys, len(table))
        marginal_a, marginal_b = (np.bincount(part, minlength=len(table)) for part in (left, right))
        total = totals[direction]
        retain = table[code_a, code_b].astype(np.int64)
        parts.append(
            pd.DataFrame(
                {
                    "code_a": code_a,
                    "code_b": code_b,
                    "direction": direction,
                    "count": counts,
                    "retain": retain,
                    "pmi": np.log2(counts * len(left) / (marginal_a[code_a] * marginal_b[code_b])),
                    "g2": g_squared(counts, len(left), retain, total),
                    "excess": counts * total > retain * len(left),
                }
            )
        )
    found = pd.concat(parts, ignore_index=True)
    p = stats.chi2.sf(found["g2"].to_numpy(), 1)
    return found.assign(q=benjamini_hochberg(p) if len(p) else p)


def significant(found: pd.DataFrame) -> int:
    """How many pairs are more frequent in the masks at a false discovery rate of 5 %."""
    return int((found["excess"] & (found["q"] <= 0.05)).sum())


def mutual_information(values: np.ndarray, places: dict, codebook_size: int) -> float:
    """Mutual information (bits) of neighbouring codes in the masks: plug-in estimate, mean over adjacencies."""
    total, bits = 0, 0.0
    for first, second in places.values():
        left, right = values[first], values[second]
        joint = np.unique(left * codebook_size + right, return_counts=True)[1]
        apart = [np.bincount(part) for part in (left, right)]
        bits += (xlogy(joint, joint).sum() - sum(xlogy(part, part).sum() for part in apart)) / np.log(2)
        bits += len(left) * np.log2(max(len(left), 1))
        total += len(left)
    return bits / max(total, 1)


def score_patches(
    codes: np.ndarray,
    masks: np.ndarray,
    retain: np.ndarray,
    shape: tuple[int, int],
    min_count: int,
    ratio: float,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, list[dict]]:
    """The explicit patches of one shape: the most frequent ones, and how much of masks and safe images they cover.

    The null shuffles the codes of all cells of the forget set: what independent codes of the same frequency give.
    `expected` is the count of a patch under that independence.
    """
    ids = number_patches(np.concatenate([codes, retain]), *shape)
    forget, safe = ids[: len(codes)], ids[len(codes) :]
    counts, explicit = explicit_patches(forget, safe, min_count, ratio)
    shuffled = rng.permutation(np.asarray(codes).ravel()).reshape(codes.shape)
    null = number_patches(np.concatenate([shuffled, retain]), *shape)
    null_explicit = explicit_patches(null[: len(codes)], null[len(codes) :], min_count, ratio)[1]
    rows = [
        row("explicit_patches", explicit.sum(), n=int((counts[0] >= min_count).sum())),
        row("explicit_patches_null", null_explicit.sum()),
        row("patch_coverage", cover(explicit[forget], *shape)[masks].mean(), n=int(masks.sum())),
        row("patch_coverage_null", cover(null_explicit[null[: len(codes)]], *shape)[masks].mean(), n=int(masks.sum())),
        row("patch_coverage_safe", cover(explicit[safe], *shape).mean(), n=retain.size),
    ]
    order = np.flatnonzero(explicit)
    order = order[np.argsort(-counts[0][order], kind="stable")][:TABLE_ROWS]
    share = np.bincount(np.asarray(codes).ravel()) / codes.size
    contents = [patch_codes(codes, forget, number, shape) for number in order]
    table = pd.DataFrame(
        {
            "codes": [" ".join(map(str, content)) for content in contents],
            "count": counts[0][order],
            "retain": counts[1][order],
            "expected": [forget.size * float(np.prod(share[content])) for content in contents],
        }
    )
    return table.astype({"codes": str, "expected": float}), rows


def explicit_patches(
    forget: np.ndarray, safe: np.ndarray, min_count: int, ratio: float
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Counts (patches,) in both sets, and which patches are frequent enough and exceed the ratio of raw counts."""
    number = 1 + max(int(forget.max(initial=-1)), int(safe.max(initial=-1)))
    counts = tuple(np.bincount(part.ravel(), minlength=number) for part in (forget, safe))
    above = (counts[0] + LEGACY_EPSILON) / (counts[1] + LEGACY_EPSILON) > ratio
    return counts, (counts[0] >= min_count) & above


def patch_codes(codes: np.ndarray, ids: np.ndarray, number: int, shape: tuple[int, int]) -> np.ndarray:
    """The codes, row by row, of the patch with this number."""
    image, line, column = np.unravel_index(np.argmax(ids == number), ids.shape)
    return np.asarray(codes[image, line : line + shape[0], column : column + shape[1]]).ravel()


if __name__ == "__main__":
    step(cooccurrence)
