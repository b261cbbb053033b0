"""What a replacement rule may know: the model, the codes' statistics, a bank of safe grids. Heavy parts on demand."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from palimpsest.judges.networks import EmblemDetector
from palimpsest.models.pixels import to_tensor
from palimpsest.models.vqgan import VQGAN


@dataclass
class Context:
    """Inputs of the rules. n images, grid h x w, K codes of dimension d.

    images: uint8 (n, H, W, 3), the pictures being edited. explicit: codes of the concept, most typical first. safe:
    codes allowed as replacements. counts: cells of the safe fit set per code (K,). bank: code grids of the safe fit
    set (m, h, w). twin_codes: codes of the same scenes without the concept, where the world knows them.
    horizontal, vertical: how often code j follows code i to the right, or below, in the bank (K, K).
    fit_codes, fit_cells: grids that show the concept, and its cells, for rules that learn. guide: the detector that
    makes the masks; a rule may learn from it, and the judge is another network. learned: what a rule has learned, by
    the state of its generator, so that it learns once for all scopes.
    """

    model: VQGAN
    images: np.ndarray
    explicit: np.ndarray
    safe: np.ndarray
    counts: np.ndarray
    bank: np.ndarray
    horizontal: np.ndarray
    vertical: np.ndarray
    fit_codes: np.ndarray
    fit_cells: np.ndarray
    guide: EmblemDetector | None = None
    twin_codes: np.ndarray | None = None
    learned: dict = field(default_factory=dict)

    @property
    def live(self) -> np.ndarray:
        """Codes that occur in the bank or among the explicit ones."""
        return np.union1d(np.flatnonzero(self.counts), self.explicit)

    @cached_property
    def codebook(self) -> np.ndarray:
        """The embedding rows (K, d)."""
        return self.model.codebook.detach().cpu().numpy()

    @cached_property
    def squared_distances(self) -> np.ndarray:
        """Squared Euclidean distances of the codebook's rows (K, K)."""
        return squared_distances(self.codebook)

    @torch.inference_mode()
    def logits(self, batch: int = 64):
        """Logits (b, K, h, w) of the pictures, batch by batch."""
        for start in range(0, len(self.images), batch):
            yield self.model.encode_logits(to_tensor(self.images[start : start + batch])).cpu().numpy()


def squared_distances(rows: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances between the rows of a matrix."""
    lengths = np.square(rows).sum(1)
    return np.clip(lengths[:, None] + lengths[None] - 2 * rows @ rows.T, 0, None)


def nearest_safe(distances: np.ndarray, safe: np.ndarray) -> np.ndarray:
    """For every code the nearest safe code other than itself, from a distance matrix (K, K); shape (K,)."""
    allowed = distances[:, safe].copy()
    allowed[safe, np.arange(len(safe))] = np.inf
    return safe[allowed.argmin(1)]
