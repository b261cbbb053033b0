"""Which codes speak for a concept: scores of codes from counts, and lists of codes from scores."""

from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import xlogy

from palimpsest.options import Count, Positive, Share
from palimpsest.run import UserError

Score = Literal["ratio_legacy", "log_odds", "mutual_information", "auc"]
Contrast = Literal["whole", "masked", "paired"]


def log_odds(forget: np.ndarray, retain: np.ndarray, prior: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds ratio of every code with an informative Dirichlet prior, and its z score, each (..., K).

    Monroe, Colaresi & Quinn 2008 ("Fightin' Words"), equations 16, 20 and 22; the prior is the pooled distribution,
    worth `prior` cells. Both are 0 for a code that occurs in neither set.
    """
    pooled = forget + retain
    weight = prior * pooled / pooled.sum(-1, keepdims=True)
    live = pooled > 0
    odds = []
    for counts in (forget, retain):
        cells = np.where(live, counts + weight, 1.0)
        odds.append((cells, np.log(cells) - np.log(counts.sum(-1, keepdims=True) + prior - cells)))
    value = np.where(live, odds[0][1] - odds[1][1], 0.0)
    return value, value / np.sqrt(1 / odds[0][0] + 1 / odds[1][0])


def shrunken_log_odds(forget: np.ndarray, retain: np.ndarray) -> np.ndarray:
    """How much likelier each unit (K,) is in the forget set, in nats, shrunk towards 0 for units seldom seen.

    The logit of the unit's share of occurrences in the forget set, after a Beta prior centred on the overall share and
    worth one occurrence, less the logit of that overall share: 0 for a unit never seen. Unlike `log_odds`, whose
    prior grows with the unit's own count, it ranks a unit seen fifty times in one set only above one seen once.
    """
    share = forget.sum() / (forget.sum() + retain.sum())
    return np.log((forget + share) / (retain + 1 - share)) - np.log(share / (1 - share))


def g_squared(first: np.ndarray, first_total: float, second: np.ndarray, second_total: float) -> np.ndarray:
    """Log-likelihood ratio statistic that two shares first/first_total and second/second_total differ (Dunning 1993).

    chi-squared with one degree of freedom when they do not.
    """
    total, hits = first_total + second_total, first + second
    observed = (
        xlogy(first, first)
        + xlogy(second, second)
        + xlogy(first_total - first, first_total - first)
        + xlogy(second_total - second, second_total - second)
    )
    margins = xlogy(hits, hits) + xlogy(total - hits, total - hits)
    margins = margins + xlogy(first_total, first_total) + xlogy(second_total, second_total) - xlogy(total, total)
    return np.maximum(2 * (observed - margins), 0.0)


def choose(
    scores: pd.DataFrame,
    *,
    score: Score,
    contrast: Contrast,
    top: Positive | None = None,
    q: Share | None = None,
    min_count: Count = 0,
) -> np.ndarray:
    """The explicit codes, best first, from the table of `palimpsest.lcr.score`.

    `top` keeps the first so many, `q` those over-represented at this false discovery rate, `min_count` those that occur
    at least so often in the forget cells. Codes that occur nowhere are left out, except under `ratio_legacy`, whose
    published recipe ranks them too.
    """
    chosen = scores[(scores["score"] == score) & (scores["contrast"] == contrast)].sort_values("rank")
    if chosen.empty:
        known = ", ".join(sorted({f"{a}/{b}" for a, b in zip(scores["score"], scores["contrast"], strict=True)}))
        raise UserError(f"no scores {score!r} with contrast {contrast!r}; the table has {known}")
    if score != "ratio_legacy":
        chosen = chosen[chosen["live"]]
    elif q is not None:
        raise UserError("score ratio_legacy has no test, so no false discovery rate q: give `top` instead")
    if q is not None:
        chosen = chosen[(chosen["q"] <= q) & (chosen["z"] > 0)]
    chosen = chosen[chosen["forget"] >= min_count]
    return chosen["code"].to_numpy(np.int64)[:top]


def safe_codes(counts: np.ndarray, explicit: np.ndarray, min_count: int) -> np.ndarray:
    """The codes that occur at least min_count times in the retain set, counts (K,), and are not explicit."""
    safe = np.asarray(counts) >= max(min_count, 1)
    safe[explicit] = False
    return np.flatnonzero(safe)
