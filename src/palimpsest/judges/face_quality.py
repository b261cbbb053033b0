"""How well the judges of faces judge, on people they were not trained on."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from palimpsest.judges.batches import in_batches
from palimpsest.judges.face_networks import FaceNetwork
from palimpsest.worlds.damage import blurred, noisy
from palimpsest.worlds.faces import IDENTITY, NUISANCE, edit, render

ATTRIBUTES = (*IDENTITY, *NUISANCE)
QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)
# How pictures are damaged, and made another person's: standard deviations of noise (0 to 255) and of blur (pixels),
# strengths of the exact edit.
AMOUNTS = {"noise": (5, 10, 25, 50, 100, 150), "blur": (0.5, 1, 1.5, 2, 3, 4), "edit": (0.125, 0.25, 0.5, 1, 1.5, 2)}


def taken_anew(identity: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """New pictures of people (n, identity attributes): another pose, smile, light and background; uint8."""
    return render(identity, rng.random((len(identity), len(NUISANCE))), size)


def similarities(model: FaceNetwork, people: pd.DataFrame, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of two pictures of one person, and of pictures of two people, each (n,)."""
    rng, identity, size = np.random.default_rng(seed), people[list(IDENTITY)].to_numpy(), model.config["size"]
    first, second = (in_batches(model.embed, taken_anew(identity, size, rng)) for _ in range(2))
    return (first * second).sum(1), (first * np.roll(second, 1, 0)).sum(1)


def descriptor_quality(model: FaceNetwork, people: pd.DataFrame, threshold: float = 0.4) -> dict[str, float]:
    """Quantiles of the cosines, the best threshold between same and different, and what the paper's 0.4 means here."""
    same, different = similarities(model, people)
    steps = np.linspace(-1, 1, 401)
    accuracy = [((same > step).mean() + (different <= step).mean()) / 2 for step in steps]
    return {
        **{f"same_q{100 * q:g}": float(np.quantile(same, q)) for q in QUANTILES},
        **{f"different_q{100 * q:g}": float(np.quantile(different, q)) for q in QUANTILES},
        "best_threshold": float(steps[np.argmax(accuracy)]),
        "best_accuracy": float(max(accuracy)),
        "same_above_threshold": float((same > threshold).mean()),
        "different_above_threshold": float((different > threshold).mean()),
    }


def damaged(people: pd.DataFrame, pictures: np.ndarray, kind: str, amount: float, seed: int = 0) -> np.ndarray:
    """Pictures (n, h, w, 3) uint8 of people, damaged or edited by so much of a kind of AMOUNTS."""
    if kind == "noise":
        return noisy(pictures, amount, np.random.default_rng(seed))
    if kind == "blur":
        return blurred(pictures, amount)
    identity, nuisance = (people[list(names)].to_numpy() for names in (IDENTITY, NUISANCE))
    return render(edit(identity, amount), nuisance, pictures.shape[1])


def damage_curve(
    model: FaceNetwork, people: pd.DataFrame, pictures: np.ndarray
) -> Iterator[tuple[str, float, np.ndarray]]:
    """Of each kind and amount of AMOUNTS the cosines (n,) of pictures and the same pictures damaged by it."""
    own = in_batches(model.embed, pictures)
    for kind, amounts in AMOUNTS.items():
        for amount in amounts:
            yield kind, amount, (own * in_batches(model.embed, damaged(people, pictures, kind, amount))).sum(1)


def attribute_quality(model: FaceNetwork, pictures: np.ndarray, people: pd.DataFrame) -> dict[str, float]:
    """R² of every attribute."""
    truth = people[list(ATTRIBUTES)].to_numpy(np.float32)
    missed = ((in_batches(model, pictures) - truth) ** 2).mean(0) / truth.var(0)
    return {f"{name}_r2": 1 - float(value) for name, value in zip(ATTRIBUTES, missed, strict=True)}
