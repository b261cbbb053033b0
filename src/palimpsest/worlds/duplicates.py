"""Near-duplicate images, found by a difference hash: scraped sets repeat their pictures, also across splits.

The hash has a bit for each pair of horizontal neighbours in an 8 x 9 grid of mean grey values: is the right one the
brighter? Pictures without structure share a hash whatever they show, so a pair also has to agree in its mean colours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

ROWS, COLUMNS = 8, 9
VALUES = 2**23  # of pixels that are compared at a time, as float64
GREY = np.float32((0.299, 0.587, 0.114))


@dataclass(frozen=True)
class Fingerprints:
    """Of n images: 64 hash bits as uint64 (n,), and mean colours (n, 8, 9, 3) float32 in 0..255."""

    bits: np.ndarray
    colours: np.ndarray

    def __len__(self) -> int:
        return len(self.bits)


def fingerprint(images: np.ndarray, chunk: int = 256) -> Fingerprints:
    """The fingerprints of uint8 images (n, H, W, 3) of any size."""
    count, height, width = images.shape[:3]
    down, across = _cells(ROWS, height), _cells(COLUMNS, width)
    colours = np.empty((count, ROWS, COLUMNS, 3), np.float32)
    for start in range(0, count, chunk):
        part = images[start : start + chunk].astype(np.float32).reshape(-1, height, width * 3)
        rows = (down @ part).reshape(-1, ROWS, width, 3)
        colours[start : start + chunk] = np.einsum("cw,nrwk->nrck", across, rows)
    brighter = np.diff(colours @ GREY, axis=2) > 0
    bits = np.packbits(brighter.reshape(count, -1), axis=1).view(np.uint64)[:, 0]
    return Fingerprints(bits, colours)


def joined(parts: Sequence[Fingerprints]) -> Fingerprints:
    """The fingerprints of several sets as those of one."""
    return Fingerprints(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("bits", "colours")))


def pairs(
    first: Fingerprints, second: Fingerprints, threshold: int = 6, colour: float = 16.0, chunk: int = 512
) -> np.ndarray:
    """Index pairs (m, 2) of near-duplicates between two sets.

    threshold: at most so many of the 64 bits differ. colour: the largest mean difference of the mean colours, of 255.
    """
    found = []
    for start in range(0, len(first), chunk):
        distance = np.bitwise_count(first.bits[start : start + chunk, None] ^ second.bits)
        found.append(np.argwhere(distance <= threshold) + np.array([start, 0]))
    candidates = np.concatenate(found) if found else np.empty((0, 2), int)
    agree = [
        np.abs(first.colours[part[:, 0]] - second.colours[part[:, 1]]).mean((1, 2, 3)) <= colour
        for part in np.array_split(candidates, -(-len(candidates) // 4096) or 1)
    ]
    return candidates[np.concatenate(agree)]


def first_of_group(prints: Fingerprints, threshold: int = 6, colour: float = 16.0) -> np.ndarray:
    """For each image the index (n,) of the first image of its group: itself unless it repeats an earlier one.

    A group holds every image that a chain of near-duplicates leads to.
    """
    found = pairs(prints, prints, threshold, colour)
    links = coo_array((np.ones(len(found), bool), found.T), shape=(len(prints), len(prints)))
    groups = connected_components(links, directed=False)[1]
    firsts = np.unique(groups, return_index=True)[1]
    return firsts[groups]


def squared_distances(wanted: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Squared pixel distances (m, n) of pictures (m, h, w, c) to data (n, h, w, c), exact: zero is equality."""
    flat = wanted.reshape(len(wanted), -1).astype(np.float64)
    batch = max(1, VALUES // flat.shape[1])
    parts = []
    for start in range(0, len(data), batch):
        part = data[start : start + batch].reshape(-1, flat.shape[1]).astype(np.float64)
        parts.append((flat**2).sum(1)[:, None] + (part**2).sum(1)[None] - 2 * flat @ part.T)
    return np.concatenate(parts, 1)


def _cells(cells: int, length: int) -> np.ndarray:
    """Weights (cells, length) that average each of `cells` equal parts of `length` pixels, parts of pixels included."""
    edges = np.linspace(0, length, cells + 1)
    pixel = np.arange(length)
    shared = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (np.clip(shared, 0, None) * (cells / length)).astype(np.float32)
