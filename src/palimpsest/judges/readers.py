"""What judges read in pictures of the scenes: the value of every factor, emblems, features for distances."""

from pathlib import Path

import numpy as np
import torch

from palimpsest.judges import networks
from palimpsest.judges.batches import in_batches
from palimpsest.judges.emblem import best_scores
from palimpsest.metrics.similarity import normalised, perceptual_map
from palimpsest.models.pixels import to_tensor
from palimpsest.worlds.concepts import Concept
from palimpsest.worlds.scenes import FACTORS

SCORE = 0.5  # of the emblem's detector


class Readers:
    """The classifier of factors and the detector of emblems, and what they read of pictures."""

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
