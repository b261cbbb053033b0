"""Whether pictures show what their prompts ask for: what a text-to-image model of the scenes is measured by."""

from pathlib import Path

import numpy as np
import pandas as pd

from palimpsest.judges import networks
from palimpsest.judges.emblem import best_scores
from palimpsest.judges.quality import factor_accuracy
from palimpsest.models.pixels import to_tensor
from palimpsest.worlds.scenes import FACTORS


def known_rows(rows: pd.DataFrame, seen: pd.DataFrame) -> pd.DataFrame:
    """The rows of which the training has shown every value: a model without a concept is not asked for it."""
    known = np.logical_and.reduce([rows[name].isin(seen[name].unique()) for name in (*FACTORS, "emblem")])
    return rows[known]


def judged_prompts(seen: pd.DataFrame, held_out: pd.DataFrame, count: int) -> dict[str, pd.DataFrame]:
    """The first rows whose captions a model is judged by: of those it was trained on, and of those that it was not."""
    return {"seen": seen.head(count), "held_out": known_rows(held_out, seen).head(count)}


def shown(pictures: np.ndarray, rows: pd.DataFrame, judge: Path, detector: Path) -> dict[str, float | int]:
    """How often pictures (n, H, W, 3) uint8 show what the captions of their rows say, by factor.

    emblem_found: where the caption has one; emblem_unasked: where it has none.
    """
    accuracy = factor_accuracy(networks.load(judge), to_tensor(pictures), rows)
    found, asked = emblem_shown(pictures, detector), rows["emblem"].to_numpy(bool)
    rates = {name: accuracy[name] for name in FACTORS}
    if asked.any():
        rates["emblem_found"] = float(found[asked].mean())
    return {**rates, "emblem_unasked": float(found[~asked].mean()), "prompts": len(rows)}


def emblem_shown(pictures: np.ndarray, detector: Path) -> np.ndarray:
    """In which of pictures (n, H, W, 3) uint8 the detector sees an emblem (n,) bool."""
    return best_scores(networks.load(detector), to_tensor(pictures)).numpy() >= 0.5
