"""What a replacement rule may know: the model, the codes' statistics, a bank of safe grids. Heavy parts on demand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from palimpsest.judges.networks import EmblemDetector
from palimpsest.lcr.codes import pair_counts
from palimpsest.models.vqgan import VQGAN

BLOCK = 1024  # codes that are compared with the safe ones at once


@dataclass
class Context:
    """Inputs of the rules. n images, grid h x w, K codes of dimension d.

    images: uint8 (n, H, W, 3), the pictures being edited. explicit: codes of the concept, most typical first. safe:
    codes allowed as replacements. counts: cells of the safe fit set per code (K,). bank: code grids of the safe fit
    set (m, h, w). twin_codes: codes of the same scenes without the concept, where the world knows them.
    fit_codes, fit_cells: grids that show the concept, and its cells, for rules that learn. guide: the detector that
    makes the masks; a rule may learn from it, and the judge is another network. learned: what a rule has found out
    (`once`).
    """

    model: VQGAN
    images: np.ndarray
    explicit: np.ndarray
    safe: np.ndarray
    counts: np.ndarray
    bank: np.ndarray
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

    def pairs(self, direction: tuple[int, int]) -> np.ndarray:
        """How often code b follows code a in the bank, to its right (0, 1) or below it (1, 0): [a, b], int32 (K, K).

        Counted when a rule asks, and not kept: a table of 16,384 codes takes 1 GB.
        """
        return pair_counts(self.bank, len(self.counts), direction)

    def once(self, name: str, find_out: Callable[[], np.ndarray]) -> np.ndarray:
        """What `find_out` gives, called for the first scope alone: every scope of a rule edits the same codes.

        name: of what else it depends on, such as the state of a generator.
        """
        if name not in self.learned:
            self.learned[name] = find_out()
        return self.learned[name]


def squared_distances(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances (m, n) between the rows of one matrix (m, d) and those of another (n, d).

    The middle of the others becomes the origin: far from it the sum would be a small difference of large numbers.
    """
    middle = others.mean(0)
    rows, others = rows - middle, others - middle
    lengths, theirs = np.square(rows).sum(1), np.square(others).sum(1)
    return np.clip(lengths[:, None] + theirs[None] - 2 * rows @ others.T, 0, None)


def nearest_safe(codes: np.ndarray, safe: np.ndarray, describe: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """For every code, of any shape, the nearest safe code other than itself, in Euclidean distance.

    describe: from distinct codes (m,) to what they are compared by (m, d). It is asked for the codes that occur alone:
    of a large codebook few do, and a table of all pairs would not fit.
    """
    known = np.union1d(codes, safe)
    rows = describe(known)
    others = rows[np.searchsorted(known, safe)]
    present, place = np.unique(codes, return_inverse=True)
    nearest = np.empty(len(present), np.int64)
    for start in range(0, len(present), BLOCK):
        block = slice(start, start + BLOCK)
        distances = squared_distances(rows[np.searchsorted(known, present[block])], others)
        distances[present[block, None] == safe] = np.inf
        nearest[block] = safe[distances.argmin(1)]
    return nearest[place].reshape(codes.shape)


def to_nearest(
    codes: np.ndarray, cells: np.ndarray, context: Context, describe: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Codes whose cells became the safe codes nearest to theirs, as `nearest_safe` finds them."""
    return np.where(cells, context.once("nearest", lambda: nearest_safe(codes, context.safe, describe)), codes)
