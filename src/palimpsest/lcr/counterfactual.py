"""Which codes does the classifier rest on? Counterfactuals of a linear code classifier, in closed form.

Replacing every cell of image n whose code is k by the baseline code b changes its logit by

    D[n, k] = sum over cells p with c[n, p] = k of <position_p, embedding_b - embedding_k>,

and replacing a set of codes changes it by the sum of their D, exactly: no combination has to be sampled (the original
ran 280,000 forward passes per image for it). A single cell changed to code k gains table[k, p] - table[c_p, p], so
that the cheapest way across the decision line takes the largest gains in turn.
"""

import numpy as np
import pandas as pd
from scipy.special import expit

from palimpsest.lcr import linear_code_model
from palimpsest.lcr.arrays import load_codes, same_network
from palimpsest.lcr.codes import count_codes, document_frequency
from palimpsest.lcr.linear_code_model import LinearCodeModel
from palimpsest.metrics import measurements as tidy
from palimpsest.metrics.intervals import bootstrap, wilson
from palimpsest.metrics.measurements import row, share_of
from palimpsest.options import Count, Positive, Share
from palimpsest.run import Input, Output, UserError, step

# The original's search: random sets among the codes of highest single importance, and its replacement codes.
POOL, SAMPLES, LEGACY_CODES = 200, 1000, 150
RATIO_FLOOR = 1e-8


def counterfactual(
    weights: Input,
    forget_test_codes: Input,
    safe_test_codes: Input,
    importance: Output,
    greedy: Output,
    measurements: Output,
    *,
    model: str,
    preset: str,
    codebook_size: Positive,
    baseline_token: Count,
    budget: Positive,
    combination_size: Positive,
    threshold: Share,
    seed: Count = 0,
) -> dict:
    """Measure what single codes, the best sets of codes and the fewest changed cells do to the logit.

    baseline_token: the code that replaces others (0 in the original; the most frequent safe code is measured beside
    it). budget: most cells changed. combination_size: largest set. threshold: least gain in probability that the
    original's greedy rule accepts.
    """
    origin = same_network(forget_test_codes, safe_test_codes, weights)
    classifier = linear_code_model.load(weights)
    forget, safe = load_codes(forget_test_codes, codebook_size), load_codes(safe_test_codes, codebook_size)
    check_fit(classifier, weights, forget, codebook_size, baseline_token)
    forget_counts, safe_counts = (count_codes(codes, codebook_size) for codes in (forget, safe))
    baselines = {"token": baseline_token, "frequent": int(safe_counts.argmax())}
    tables, rows = [], []
    for baseline, code in baselines.items():
        changes = code_changes(classifier, forget, code)
        single = importance_table(classifier.logits(forget), changes)
        counted = {"count": forget_counts, "images": document_frequency(forget, codebook_size)}
        tables.append(single.assign(**counted, baseline=baseline))
        pool = np.argsort(-single["probability_change_absolute"].to_numpy(), kind="stable")[:POOL]
        found = combinations(classifier, forget, changes, code, pool, combination_size, seed)
        rows += [measured | {"baseline": baseline, "baseline_code": code} for measured in found]
    pd.concat(tables, ignore_index=True).to_parquet(importance, index=False)
    live = (forget_counts + safe_counts) > 0
    ranking = legacy_ranking(forget_counts, safe_counts)[:LEGACY_CODES]
    flips = pd.concat(
        [
            best_flips(classifier, safe, live, budget).assign(rule="best"),
            legacy_flips(classifier, safe, ranking, budget, threshold).assign(rule="legacy"),
        ],
        ignore_index=True,
    )
    flips.to_parquet(greedy, index=False)
    for rule, part in flips.groupby("rule"):
        rows += flip_rows(part, len(safe), str(rule), budget, seed)
    labels = {"model": model, "preset": preset, "set": forget_test_codes.stem, "method": "counterfactual", "seed": seed}
    tidy.write(measurements, rows, family="lcr", **labels)
    return {"baselines": baselines, "live_codes": int(live.sum()), **origin}


def check_fit(classifier: LinearCodeModel, weights: Input, codes: np.ndarray, codebook_size: int, baseline: int):
    """Raise a UserError where classifier, grids and baseline do not belong together."""
    wanted = (codebook_size, int(np.prod(codes.shape[1:])))
    given = (len(classifier.embedding), len(classifier.position))
    if wanted != given:
        raise UserError(f"{weights} is of {given} codes and cells, the grids of {wanted}: train the classifier again.")
    if not 0 <= baseline < codebook_size:
        raise UserError(f"--baseline-token {baseline}: the codebook has codes 0 to {codebook_size - 1}.")


def code_changes(classifier: LinearCodeModel, codes: np.ndarray, baseline: int) -> np.ndarray:
    """D (n, K): the change of each grid's logit when all cells of a code become the baseline code."""
    table = classifier.table()
    size, cells = table.shape
    gains = (table[baseline] - table).ravel()
    changes = np.empty((len(codes), size))
    for image, grid in enumerate(np.asarray(codes).reshape(len(codes), cells)):
        changes[image] = np.bincount(grid, gains[grid.astype(np.int64) * cells + np.arange(cells)], minlength=size)
    return changes


def importance_table(logits: np.ndarray, changes: np.ndarray) -> pd.DataFrame:
    """Per code the signed and absolute mean change of logit and of probability over all images."""
    probability = expit(logits)
    moved = np.empty((2, changes.shape[1]))
    for start in range(0, changes.shape[1], 1024):  # the probabilities of all codes at once would double the memory
        part = expit(logits[:, None] + changes[:, start : start + 1024]) - probability[:, None]
        moved[:, start : start + 1024] = part.mean(0), np.abs(part).mean(0)
    return pd.DataFrame(
        {
            "code": np.arange(changes.shape[1]),
            "logit_change": changes.mean(0),
            "logit_change_absolute": np.abs(changes).mean(0),
            "probability_change": moved[0],
            "probability_change_absolute": moved[1],
        }
    )


def combinations(
    classifier: LinearCodeModel,
    codes: np.ndarray,
    changes: np.ndarray,
    baseline: int,
    pool: np.ndarray,
    largest: int,
    seed: int,
) -> list[dict]:
    """Effects of the best set of each size, of the best of 1000 random sets of a pool, and the closed form's error.

    The mean logit change of a set is the sum of its codes' means, so the codes of lowest means are the best set.
    """
    logits, n = classifier.logits(codes), len(codes)
    order = np.argsort(changes.mean(0), kind="stable")
    rows = []
    for size in sorted({1, 2, 3, 5, largest} & set(range(1, largest + 1))):
        rows += set_rows(logits, changes[:, order[:size]].sum(1), {"rule": "best", "size": size}, seed)
    rng = np.random.default_rng(seed)
    picks = np.argsort(rng.random((SAMPLES, len(pool))), axis=1)[:, :largest]
    member = np.zeros((len(pool), SAMPLES))
    member[picks.T, np.arange(SAMPLES)] = 1
    sampled = changes[:, pool] @ member
    rows += set_rows(logits, sampled[:, sampled.mean(0).argmin()], {"rule": "random", "size": largest}, seed)
    chosen = order[:largest]
    edited = np.where(np.isin(codes, chosen), baseline, codes)
    error = np.abs(classifier.logits(edited) - logits - changes[:, chosen].sum(1)).max()
    return [*rows, row("additive_error", error, n=n, size=largest)]


def set_rows(logits: np.ndarray, change: np.ndarray, labels: dict, seed: int) -> list[dict]:
    """Mean change of logit and probability, and the share of images called concept before that no longer are."""
    n = len(logits)
    moved = expit(logits + change) - expit(logits)
    called = logits > 0
    lost = int((called & (logits + change <= 0)).sum())
    return [
        row("logit_change", change.mean(), *bootstrap(change, seed=seed), n=n, **labels),
        row("probability_change", moved.mean(), *bootstrap(moved, seed=seed), n=n, **labels),
        row("flipped_share", lost / max(called.sum(), 1), *wilson(lost, called.sum()), n=called.sum(), **labels),
    ]


def legacy_ranking(forget_counts: np.ndarray, safe_counts: np.ndarray) -> np.ndarray:
    """The original's ranking of codes: by the ratio of raw counts, both raised by 1e-8."""
    return np.argsort(-(forget_counts + RATIO_FLOOR) / (safe_counts + RATIO_FLOOR), kind="stable")


def best_flips(classifier: LinearCodeModel, codes: np.ndarray, live: np.ndarray, budget: int) -> pd.DataFrame:
    """The fewest cells of each grid, each set to its best live code, that bring the probability to one half.

    One row per image not called concept: image, start and end probability, cells changed, reached (within budget).
    """
    table = classifier.table()
    best = np.where(live[:, None], table, -np.inf).max(0)
    logits = classifier.logits(codes)
    images = np.flatnonzero(logits < 0)
    gains = np.maximum(best - classifier.cell_logits(codes[images]), 0)
    gains = -np.sort(-gains, axis=1)[:, :budget]
    path = logits[images, None] + gains.cumsum(1)
    reached = path[:, -1] >= 0
    flips = np.where(reached, (path < 0).sum(1) + 1, (gains > 0).sum(1))
    end = np.take_along_axis(path, np.maximum(flips, 1)[:, None] - 1, 1)[:, 0]
    return _flip_table(images, logits[images], end, flips, reached)


def legacy_flips(
    classifier: LinearCodeModel, codes: np.ndarray, ranking: np.ndarray, budget: int, threshold: float
) -> pd.DataFrame:
    """The original's greedy rule: each code of the ranking in turn at its best cell, and an end at the first failure.

    A code is accepted when it raises the probability by `threshold`. Columns as `best_flips`.
    """
    table = classifier.table()
    logits = classifier.logits(codes)
    images = np.flatnonzero(logits < 0)
    now = classifier.cell_logits(codes[images])
    level, flips = logits[images].copy(), np.zeros(len(images), int)
    going = np.ones(len(images), bool)
    for code in ranking[:budget]:
        gains = table[code] - now
        cell = gains.argmax(1)
        gain = gains[np.arange(len(images)), cell]
        going &= (expit(level + gain) - expit(level) >= threshold) & (level < 0)
        now[going, cell[going]] = table[code, cell[going]]
        level[going] += gain[going]
        flips[going] += 1
    return _flip_table(images, logits[images], level, flips, level >= 0)


def _flip_table(images, start, end, flips, reached) -> pd.DataFrame:
    columns = {"start": expit(start), "end": expit(end), "flips": flips, "reached": reached}
    return pd.DataFrame({"image": images, **columns})


def flip_rows(flips: pd.DataFrame, images: int, rule: str, budget: int, seed: int) -> list[dict]:
    """Share of the images that cross within the budget, and the median of the cells that those need."""
    needed = flips.loc[flips["reached"], "flips"].to_numpy()
    labels = {"rule": rule, "budget": budget}
    median = np.median(needed) if len(needed) else np.nan
    return [
        share_of("reached_share", flips["reached"].to_numpy(bool), **labels),
        row("flips_to_cross", median, *bootstrap(needed, np.median, seed=seed), n=len(needed), **labels),
        row("called_concept_share", 1 - len(flips) / images, *wilson(images - len(flips), images), n=images, **labels),
    ]


if __name__ == "__main__":
    step(counterfactual)
