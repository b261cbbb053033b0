"""What a forgetful model is judged by: how its reconstructions of targets and its same-seed samples differ.

Judges are given by role in the configuration, each a module of palimpsest.judges with `load(network)`: `descriptor` has
`embed(images)`, `features` has `features(images)` and `appearance(images)`, `perceptual` has `distance(first, second)`,
and `attributes`, where there is one, reads attributes when called. Measurements are named by what they are; tables name
the judge.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from torch import Tensor

from palimpsest.instance.published import LIMIT
from palimpsest.judges.batches import in_batches
from palimpsest.metrics.distribution import Plausibility, frechet, kernel_distance
from palimpsest.metrics.measurements import mean_of, row, share_of
from palimpsest.metrics.similarity import ssim


def load_judges(modules: dict[str, str], networks: list[Path]) -> dict:
    """The judge of each role, from modules by role; the files are in the alphabetical order of the roles."""
    return {
        role: import_module(f"palimpsest.judges.{modules[role]}").load(network)
        for role, network in zip(sorted(modules), networks, strict=True)
    }


@dataclass
class Reference:
    """What every model is compared with: the pretrained one's pictures, and data. Pictures are uint8.

    samples: (n, h, w, c), same-seed partners, those of each training seed after those of the one before. injected: the
    pretrained model's reconstructions (images, draws, h, w, c) of `injected_images`, which are the targets, then the
    strangers, then each target's neighbours. features: of the samples; data: features of training pictures; appearance
    and held_out: how these and other pictures look; timestep: of the injection.
    """

    samples: np.ndarray
    features: np.ndarray
    data: np.ndarray
    appearance: np.ndarray
    held_out: np.ndarray
    injected_images: np.ndarray
    injected: np.ndarray
    kinds: np.ndarray
    owners: np.ndarray
    timestep: int

    @classmethod
    def read(cls, path: Path) -> "Reference":
        """From the file that the step `reference` writes."""
        with np.load(path) as file:
            parts = {name: file[name] for name in file.files if name != "sheet"}
        parts["timestep"] = int(parts["timestep"])
        return cls(**parts)

    def places(self, kind: str, owner: int | None = None) -> np.ndarray:
        """Rows of the injected images of a kind: target, stranger or neighbour (of the target numbered `owner`)."""
        return np.flatnonzero((self.kinds == kind) & (True if owner is None else self.owners == owner))


def described(embed: Callable[..., Tensor], drawn: np.ndarray) -> np.ndarray:
    """Descriptors (images, draws, d) of pictures (images, draws, h, w, c), uint8."""
    return in_batches(embed, drawn.reshape(-1, *drawn.shape[2:])).reshape(*drawn.shape[:2], -1)


def similarity_rows(
    judges: dict,
    reference: Reference,
    rebuilt: dict[str, np.ndarray],
    free: np.ndarray,
    targets: list[int],
    pictures: np.ndarray,
) -> list[dict]:
    """Similarity of reconstructions, per draw, and what happened to pictures that should have been left alone.

    rebuilt: the model's reconstructions (images, draws, h, w, c) by kind, in the order of `Reference.places`;
    free: descriptors of what it draws freely; pictures: of all targets, of which `targets` are the numbers of its own.
    similarity_target: to the target (SISS's reading); similarity_reminded: the same, from half the timestep;
    similarity_pretrained: to the pretrained model's reconstruction from the same noise (the paper's words).
    collateral: change of a picture's own similarity against the pretrained
    model, for the targets' neighbours and for strangers.
    """
    embed = judges["descriptor"].embed

    def to_own(rows: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """Cosine of every reconstruction to its own picture (images, draws)."""
        return (described(embed, drawn) * described(embed, reference.injected_images[rows][:, None])).sum(2)

    rows = reference.places("target")[targets]
    to_target = to_own(rows, rebuilt["target"])
    earlier = described(embed, reference.injected[rows][:, : to_target.shape[1]])
    found = [
        mean_of("similarity_target", to_target.ravel()),
        mean_of("similarity_reminded", to_own(rows, rebuilt["reminded"]).ravel()),
        mean_of("similarity_pretrained", (described(embed, rebuilt["target"]) * earlier).sum(2).ravel()),
        row("forgotten", float((to_target.mean(1) <= LIMIT).all()), n=len(targets)),
        row("worst_similarity", to_target.mean(1).max(), n=len(targets)),
    ]
    places = {
        "neighbour": np.concatenate([reference.places("neighbour", target) for target in targets]),
        "stranger": reference.places("stranger"),
    }
    for kind, rows in places.items():
        draws = rebuilt[kind].shape[1]
        change = to_own(rows, rebuilt[kind]) - to_own(rows, reference.injected[rows][:, :draws])
        found.append(mean_of("collateral", change.mean(1), kind=kind))
    alike = (free @ described(embed, pictures[targets][:, None])[:, 0].T).max(1)
    found.append(share_of("samples_like_target", alike > LIMIT))
    return found


def integrity_rows(judges: dict, reference: Reference, samples: np.ndarray, indices: np.ndarray) -> list[dict]:
    """How samples (n, h, w, c) differ from the pretrained model's of the same numbers (n,), in pairs and as sets."""
    count = len(samples)
    before, before_features = reference.samples[indices], reference.features[indices]
    features = in_batches(judges["features"].features, samples)
    looks = in_batches(judges["features"].appearance, samples)
    plausible = Plausibility(reference.appearance, reference.held_out).plausible(looks)
    rows = [
        mean_of("perceptual", in_batches(judges["perceptual"].distance, before, samples)),
        mean_of("ssim", ssim(before, samples)),
        row("frechet_pretrained", frechet(features, before_features), n=count),
        row("frechet_data", frechet(features, reference.data[:count]), n=count),
        row("kernel_pretrained", kernel_distance(features, before_features, paired=True), n=count),
        row("kernel_data", kernel_distance(features, reference.data), n=count),
        share_of("plausible", plausible),
    ]
    if "attributes" in judges:
        drift = np.abs(in_batches(judges["attributes"], samples) - in_batches(judges["attributes"], before)).mean(1)
        rows.append(mean_of("attribute_drift", drift))
    return rows
