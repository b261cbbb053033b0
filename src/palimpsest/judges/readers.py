"""What judges read in pictures of the scenes: the value of every factor, emblems, features for distances.

And which judges a model's pictures are read by: these, or published ones (`photographs`).
"""

from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch

from palimpsest.judges import networks
from palimpsest.judges.batches import in_batches
from palimpsest.judges.emblem import best_scores
from palimpsest.metrics.similarity import normalised, perceptual_map, ssim
from palimpsest.models.pixels import to_tensor
from palimpsest.worlds.concepts import EMBLEM, SHOWING, Concept
from palimpsest.worlds.named import Named
from palimpsest.worlds.scenes import FACTORS

SCORE = 0.5  # of the emblem's detector


class Judges(Protocol):
    """What both kinds of judges can be asked of pictures (n, H, W, 3) uint8; `compares`: whether of distances too."""

    compares: bool

    def shows(self, concept: Concept | Named, pictures: np.ndarray) -> np.ndarray:
        """Which pictures show a concept (n,)."""

    def features(self, pictures: np.ndarray) -> np.ndarray:
        """What distances between sets of pictures compare (n, d)."""

    def distance(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """How far pictures are from each other to the eye (n,)."""

    def compare(
        self, concept: Concept | Named, rows: pd.DataFrame, made: np.ndarray, before: np.ndarray
    ) -> dict[tuple[str, str], np.ndarray]:
        """What is measured of each picture of a prompt, by metric and role: outcomes (n,), and features (n, d)."""


class Readers:
    """The classifier of factors and the detector of emblems, and what they read of pictures."""

    compares = True

    def __init__(self, classifier: Path, detector: Path):
        self.classifier, self.detector = networks.load(classifier), networks.load(detector)

    def factors(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """The value (n,) of every factor, by number."""

        def of(part):
            found = self.classifier(part)
            return torch.stack([found[name].argmax(1) for name in FACTORS], 1)

        return dict(zip(FACTORS, in_batches(of, pictures).astype(int).T, strict=True))

    def emblems(self, pictures: np.ndarray) -> np.ndarray:
        """Which pictures show an emblem (n,)."""
        return best_scores(self.detector, to_tensor(pictures)).numpy() >= SCORE

    def shows(self, concept: Concept, pictures: np.ndarray) -> np.ndarray:
        """Which pictures show a concept (n,)."""
        return concept.shown(self.factors(pictures), self.emblems(pictures))

    def features(self, pictures: np.ndarray) -> np.ndarray:
        """What distances between sets compare (n, d): the last stage's, averaged over the picture."""
        return in_batches(lambda part: self.classifier.features(part)[-1].mean((2, 3)), pictures)

    def distance(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """`lpips_mini` (n,)."""

        def of(one, two):
            maps = perceptual_map(*(normalised(self.classifier.features(each)) for each in (one, two)))
            return maps.mean((1, 2))

        return in_batches(of, first, second)

    def compare(
        self, concept: Concept, rows: pd.DataFrame, made: np.ndarray, before: np.ndarray
    ) -> dict[tuple[str, str], np.ndarray]:
        """What is measured of each picture, by metric and role: outcomes (n,), and features (n, d)."""
        factors, emblems = self.factors(made), self.emblems(made)
        shows, right = concept.shown(factors, emblems), rightness(rows, factors, emblems)
        found = outcomes(rows, shows)
        for role, places in rows.groupby("role").indices.items():
            others = [name for name in right if name != concept.factor or role in ("neighbour", "rest")]
            found["kept", role] = np.nanmean([right[name][places] for name in others], 0)
            if role == "rest":
                found["perceptual", role] = self.distance(before[places], made[places])
                found["ssim", role] = ssim(before[places], made[places])
                found["features", role] = self.features(made[places])
                found["features_before", role] = self.features(before[places])
        return found


def readers_of(classifier: Path, detector: Path, roles: list[str] | None, judges: list[Path] | None) -> Judges:
    """The judges of the scenes, or those of a published model: the classifier is then what `check_folder` wrote.

    roles, judges: of further judges, in one order.
    """
    if classifier.suffix != ".json":
        return Readers(classifier, detector)
    from palimpsest.judges.photographs import Photographs  # its libraries take seconds to load

    return Photographs(classifier, detector, dict(zip(roles or [], judges or [], strict=True)))


def outcomes(rows: pd.DataFrame, shows: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """Of which prompts that name the concept it is erased, and for which others it appears, by metric and role."""
    found = {}
    for role, places in rows.groupby("role").indices.items():
        if role in SHOWING:
            found["erased", role] = ~shows[places]
        elif role == "unnamed":
            found["appears", role] = shows[places]
    return found


def rightness(rows: pd.DataFrame, factors: dict[str, np.ndarray], emblems: np.ndarray) -> dict[str, np.ndarray]:
    """Whether a picture shows what its prompt says, by factor (n,): 1, 0, or NaN where the prompt says nothing.

    The emblem is asked of figures only: no other object wears one.
    """
    right = {}
    for name, values in FACTORS.items():
        asked = rows[name].map({value: number for number, value in enumerate(values)}).fillna(-1).to_numpy(int)
        right[name] = np.where(asked < 0, np.nan, factors[name] == asked)
    wears = (rows["object"] == "figure").to_numpy()
    right[EMBLEM] = np.where(wears, emblems == rows["emblem"].to_numpy(bool), np.nan)
    return right
