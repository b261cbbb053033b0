"""How faces that a model draws look beside data: by several samplers, and beside pictures that it never saw."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from palimpsest.judges import face_networks
from palimpsest.judges.batches import in_batches
from palimpsest.metrics.distribution import Plausibility, frechet, kernel_distance


def beside_data(
    judge: Path,
    data: np.ndarray,
    held_out: np.ndarray,
    ways: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    count: int,
) -> dict[str, dict[str, float]]:
    """What `count` samples of each way to draw them (indices -> pictures) read: plausible, Fréchet, kernel distance.

    judge: the weights of `face_attributes`; data, held_out: pictures (N, h, w, c). The distances are to as many of the
    data, the last ones. `held_out` is the floor: what as many held-out pictures read.
    """
    reader = face_networks.load(judge)
    plausibility = Plausibility(*(in_batches(reader.appearance, each) for each in (data, held_out)))
    features = in_batches(reader.features, data[-count:])

    def read(pictures: np.ndarray) -> dict[str, float]:
        found = in_batches(reader.features, pictures)
        return {
            "plausible": round(float(plausibility.plausible(in_batches(reader.appearance, pictures)).mean()), 4),
            "frechet": round(frechet(found, features), 4),
            "kernel": round(kernel_distance(found, features), 6),
        }

    return {"held_out": read(held_out[:count])} | {name: read(way(np.arange(count))) for name, way in ways.items()}
