"""The localisation curve: can a list of codes, or of patches of codes, point at the concept?

Units (single codes, pairs of neighbours, 2x2 and 3x3 patches) are ranked by how much they speak for the concept's cells
on the *_fit sets. On the *_test sets, cutting the ranking anywhere selects units; a cell is covered when a selected
window contains it. Recall is the covered share of the concept's cells, false hit that of all cells of the safe images.
A unit never seen while learning speaks neither for nor against the concept: its log-odds are 0.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from palimpsest.lcr.arrays import load_codes, load_masks, same_network
from palimpsest.lcr.codes import (
    count_codes,
    cover,
    image_histograms,
    mostly_inside,
    move_masks,
    patches,
    resampled_counts,
    resampling_weights,
)
from palimpsest.lcr.selection import shrunken_log_odds
from palimpsest.metrics.intervals import percentiles
from palimpsest.metrics.measurements import row, write
from palimpsest.options import Count, Positive
from palimpsest.run import Input, Output, step

UNITS = {"1x1": [(1, 1)], "pair": [(1, 2), (2, 1)], "2x2": [(2, 2)], "3x3": [(3, 3)]}
FALSE_HITS = np.linspace(0, 1, 101) ** 2  # where the curve is written: densest where false hits are few


@dataclass(frozen=True)
class Sets:
    """The four sets of one window shape, as window numbers (n, rows, columns), numbered together."""

    shape: tuple[int, int]
    forget_fit: np.ndarray
    safe_fit: np.ndarray
    forget_test: np.ndarray
    safe_test: np.ndarray


def localise(
    forget_fit_codes: Input,
    forget_fit_masks: Input,
    safe_fit_codes: Input,
    forget_test_codes: Input,
    forget_test_masks: Input,
    safe_test_codes: Input,
    curves: Output,
    measurements: Output,
    *,
    model: str,
    preset: str,
    codebook_size: Positive,
    draws: Positive,
    seed: Count = 0,
) -> dict:
    """Write the localisation curve of every unit, and its area, with the null of masks moved to random places.

    A moved region may still lie on a part of itself: `null_overlap` is that share of its cells, and `null_apart` the
    null without them. What is left above one half is how the pictures of the two sets differ besides the concept.
    """
    codes = (forget_fit_codes, safe_fit_codes, forget_test_codes, safe_test_codes)
    origin = same_network(*codes, forget_fit_masks, forget_test_masks)
    fit = load_codes(forget_fit_codes, codebook_size)
    test = load_codes(forget_test_codes, codebook_size)
    grids = [fit, load_codes(safe_fit_codes, codebook_size), test, load_codes(safe_test_codes, codebook_size)]
    masks = (
        np.asarray(load_masks(forget_fit_masks, fit.shape, filled=True)),
        np.asarray(load_masks(forget_test_masks, test.shape, filled=True)),
    )
    rng = np.random.default_rng(seed)
    moved = tuple(move_masks(part, rng) for part in masks)
    weights = tuple(resampling_weights(len(grid), draws, rng) for grid in (test, grids[3]))
    regions = {
        "measured": masks,
        "null": moved,
        "null_apart": tuple(part & ~region for part, region in zip(moved, masks, strict=True)),
    }
    points = []
    rows = [row("null_overlap", (moved[1] & masks[1]).sum() / max(moved[1].sum(), 1), n=len(test))]
    for unit, shapes in UNITS.items():
        sets = [number_windows(grids, shape) for shape in shapes]
        for kind, (fit_masks, test_masks) in regions.items():
            if not test_masks.any():
                continue  # the region fills its pictures, and leaves nothing apart from it
            values, seen = zip(*(learn(part, fit_masks) for part in sets), strict=True)
            levels, count = level_maps(sets, list(values))
            curve = roc(
                *(count_codes(grid, count, part) for grid, part in zip(levels, (test_masks, None), strict=True))
            )
            points.append(pd.DataFrame({"unit": unit, **sample(*curve), "kind": kind}))
            low, high = intervals(levels, count, test_masks, weights)
            suffix = "" if kind == "measured" else f"_{kind}"
            estimate = summary(*curve)
            for index, metric in enumerate(("localisation_auc", "recall_at_5_percent_false_hits")):
                numbers = (float(part[index]) for part in (estimate, low, high))
                rows.append(row(metric + suffix, *numbers, n=len(test), unit=unit))
            if kind == "measured":
                rows.append(
                    row("unseen_share", *unseen(sets, list(seen), test_masks, weights[0]), n=len(test), unit=unit)
                )
                if unit == "1x1":
                    inside = np.bincount(sets[0].forget_test[test_masks], minlength=len(values[0]))
                    rows.append(
                        row(
                            "codes_for_half_recall",
                            codes_for_recall(values[0], np.where(seen[0], inside, 0), inside.sum()),
                            unit=unit,
                        )
                    )
                    rows.append(row("live_codes", len(values[0]), unit=unit))
    pd.concat(points, ignore_index=True).to_parquet(curves, index=False)
    write(measurements, rows, family="lcr", model=model, preset=preset, seed=seed)
    return {"cells_fit": int(masks[0].sum()), "cells_test": int(masks[1].sum()), **origin}


def number_windows(grids: list[np.ndarray], shape: tuple[int, int]) -> Sets:
    """Number the windows of this shape over all four sets (forget and safe to fit, forget and safe to test)."""
    ids = patches(np.concatenate(grids), *shape)
    return Sets(shape, *np.split(ids, np.cumsum([len(grid) for grid in grids[:-1]])))


def learn(sets: Sets, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The log-odds (units,) of every unit in the masks against the safe set, and whether it was seen in either."""
    units = 1 + max(int(part.max()) for part in (sets.forget_fit, sets.safe_fit, sets.forget_test, sets.safe_test))
    inside = mostly_inside(masks, *sets.shape)
    forget = np.bincount(sets.forget_fit[inside], minlength=units)
    retain = np.bincount(sets.safe_fit.ravel(), minlength=units)
    seen = forget + retain > 0
    # No window lies in masks smaller than half of it: nothing can be learned, and every unit scores alike.
    return (shrunken_log_odds(forget, retain) if forget.any() else np.zeros(units)), seen


def level_maps(sets: list[Sets], values: list[np.ndarray]) -> tuple[tuple[np.ndarray, np.ndarray], int]:
    """For every cell of the two test sets, the rank (0 is worst) of the best unit that contains it; number of ranks."""
    # Most units share their value with many others, so hashing is much faster than sorting them.
    labels, distinct = pd.factorize(np.concatenate(values))
    rank_of = np.argsort(np.argsort(distinct)).astype(np.uint32)
    ranks = np.split(rank_of[labels], np.cumsum([len(part) for part in values[:-1]]))
    maps = []
    for name in ("forget_test", "safe_test"):
        parts = [cover(rank[getattr(part, name)], *part.shape) for part, rank in zip(sets, ranks, strict=True)]
        maps.append(np.maximum.reduce(parts))
    return (maps[0], maps[1]), len(distinct)


def roc(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False hit and recall (..., levels + 1) of selecting levels from the best down, from counts (..., levels)."""
    shares = []
    for counts in (negative, positive):
        selected = np.cumsum(counts[..., ::-1], axis=-1)
        zero = np.zeros((*counts.shape[:-1], 1))
        shares.append(np.concatenate([zero, selected / np.maximum(selected[..., -1:], 1)], axis=-1))
    return shares[0], shares[1]


def summary(false_hit: np.ndarray, recall: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Area under each curve (..., points), and its recall at 5 % false hits."""
    points = zip(false_hit.reshape(-1, false_hit.shape[-1]), recall.reshape(-1, recall.shape[-1]), strict=True)
    at_five = np.array([np.interp(0.05, x, y) for x, y in points]).reshape(recall.shape[:-1])
    return np.trapezoid(recall, false_hit, axis=-1), at_five


def sample(false_hit: np.ndarray, recall: np.ndarray) -> dict[str, np.ndarray]:
    """The curve at the points that are written."""
    return {"false_hit": FALSE_HITS, "recall": np.interp(FALSE_HITS, false_hit, recall)}


def intervals(levels, count: int, masks: np.ndarray, weights) -> np.ndarray:
    """The 95 % bootstrap interval over images of what `summary` gives: [low, high], each (2,)."""
    drawn = [
        resampled_counts(image_histograms(grid, count, part), weight)
        for grid, part, weight in zip(levels, (masks, None), weights, strict=True)
    ]
    return np.quantile(np.stack(summary(*roc(*drawn))), percentiles(len(masks)), axis=1)


def unseen(sets: list[Sets], seen: list[np.ndarray], masks: np.ndarray, weights: np.ndarray) -> tuple[float, ...]:
    """Share of the test windows inside the masks that were in neither fit set, with its bootstrap interval."""
    missing, total = np.zeros(len(masks)), np.zeros(len(masks))
    for part, known in zip(sets, seen, strict=True):
        inside = mostly_inside(masks, *part.shape)
        missing += (inside & ~known[part.forget_test]).sum((1, 2))
        total += inside.sum((1, 2))
    if not total.any():
        return np.nan, np.nan, np.nan
    shares = (weights @ missing) / np.maximum(weights @ total, 1)
    return missing.sum() / total.sum(), *np.quantile(shares, percentiles(len(masks)))


def codes_for_recall(values: np.ndarray, inside: np.ndarray, cells: int, share: float = 0.5) -> float:
    """How many of the best codes cover this share of the concept's cells; NaN when all codes do not.

    values and inside (codes,): the log-odds of each code, and how many of the concept's `cells` it holds.
    """
    covered = np.cumsum(inside[np.argsort(-values, kind="stable")])
    enough = np.flatnonzero(covered >= share * cells)
    return enough[0] + 1 if len(enough) else np.nan


if __name__ == "__main__":
    step(localise)
