"""What a forgetful model is judged by: how its reconstructions of targets and its same-seed samples differ.

Judges are given by role in the configuration, each a module of palimpsest.judges with `load(network)`: `descriptor` has
`embed(images)`, `features` has `features(images)`, `perceptual` has `distance(first, second)`, and `attributes`, where
there is one, reads attributes when called. Measurements are named by what they are; tables name the judge.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from palimpsest.metrics.distribution import Plausibility, frechet, kernel_distance
from palimpsest.metrics.intervals import bootstrap, wilson
from palimpsest.metrics.measurements import row
from palimpsest.metrics.similarity import ssim_map
from palimpsest.models.pixels import to_tensor

FORGOTTEN = 0.4  # the paper's limit of similarity: at most this counts as forgotten
BATCH = 256


def load_judges(modules: dict[str, str], networks: list[Path]) -> dict:
    """The judge of each role, from modules by role; the files are in the alphabetical order of the roles."""
    return {
        role: import_module(f"palimpsest.judges.{modules[role]}").load(network)
        for role, network in zip(sorted(modules), networks, strict=True)
    }


@torch.inference_mode()
def in_batches(function, *images: Tensor) -> np.ndarray:
    """A function of images (n, 3, H, W), applied in batches."""
    parts = zip(*(each.split(BATCH) for each in images), strict=True)
    return torch.cat([function(*part) for part in parts]).float().cpu().numpy()


def shown(values: np.ndarray, metric: str, **labels) -> dict:
    """The measurement of a mean with its bootstrap interval over the values."""
    return row(metric, values.mean(), *bootstrap(values), n=len(values), **labels)


@dataclass
class Reference:
    """What every model is compared with: the pretrained one's pictures, and data.

    samples: (n, c, h, w), same-seed partners. injected: the pretrained model's reconstructions (images, draws, c, h,
    w) of `injected_images`, which are the targets, then the strangers, then each target's neighbours. features: of
    the samples; data and held_out: features of training pictures and of others; timestep: of the injection.
    """

    samples: Tensor
    features: np.ndarray
    data: np.ndarray
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
        parts["samples"] = to_tensor(parts["samples"])
        parts["timestep"] = int(parts["timestep"])
        return cls(**parts)

    def places(self, kind: str, owner: int | None = None) -> np.ndarray:
        """Rows of the injected images of a kind: target, stranger or neighbour (of the target numbered `owner`)."""
        return np.flatnonzero((self.kinds == kind) & (True if owner is None else self.owners == owner))


def similarity_rows(
    judges: dict, reference: Reference, rebuilt: dict[str, Tensor], targets: list[int], pictures: Tensor
) -> list[dict]:
    """Similarity of reconstructions, per draw, and what happened to pictures that should have been left alone.

    rebuilt: the model's reconstructions (images, draws, c, h, w) by kind, in the order of `Reference.places`.
    similarity_target: to the target (SISS's reading); similarity_pretrained: to the pretrained model's reconstruction
    from the same noise (the paper's words). collateral: change of a picture's own similarity against the pretrained
    model, for the targets' neighbours and for strangers.
    """
    embed = judges["descriptor"].embed

    def to_own(kind: str, rows: np.ndarray, pairs: Tensor | np.ndarray) -> np.ndarray:
        """Cosine of every reconstruction to its own picture (images, draws)."""
        pairs = torch.as_tensor(pairs)
        own = in_batches(embed, to_tensor(reference.injected_images[rows]))
        found = in_batches(embed, pairs.flatten(0, 1)).reshape(*pairs.shape[:2], -1)
        return (found * own[:, None]).sum(2)

    def earlier(rows: np.ndarray) -> Tensor:
        return to_tensor(reference.injected[rows].reshape(-1, *reference.injected.shape[2:])).unflatten(
            0, (len(rows), -1)
        )

    rows = reference.places("target")[targets]
    to_target = to_own("target", rows, rebuilt["target"])
    first, second = (
        in_batches(embed, each.flatten(0, 1)) for each in (rebuilt["target"], earlier(rows)[:, : to_target.shape[1]])
    )
    found = [
        shown(to_target.ravel(), "similarity_target"),
        shown((first * second).sum(1), "similarity_pretrained"),
        row("forgotten", float((to_target.mean(1) <= FORGOTTEN).all()), n=len(targets)),
        row("worst_similarity", to_target.mean(1).max(), n=len(targets)),
    ]
    places = {
        "neighbour": np.concatenate([reference.places("neighbour", target) for target in targets]),
        "stranger": reference.places("stranger"),
    }
    for kind, rows in places.items():
        draws = rebuilt[kind].shape[1]
        change = to_own(kind, rows, rebuilt[kind]) - to_own(kind, rows, earlier(rows)[:, :draws])
        found.append(shown(change.mean(1), "collateral", kind=kind))
    known = in_batches(embed, pictures[targets])
    alike = (in_batches(embed, rebuilt["samples"]) @ known.T).max(1)
    found.append(row("samples_like_target", *share(alike > FORGOTTEN), n=len(alike)))
    return found


def share(outcomes: np.ndarray) -> tuple[float, float, float]:
    """A share with its Wilson interval."""
    return float(outcomes.mean()), *wilson(int(outcomes.sum()), len(outcomes))


def integrity_rows(judges: dict, reference: Reference, samples: Tensor) -> list[dict]:
    """How same-seed samples (n, c, h, w) differ from the pretrained model's, as pairs and as sets, and from data."""
    count = len(samples)
    before = reference.samples[:count]
    features = in_batches(judges["features"].features, samples)
    plausibility = Plausibility(reference.data, reference.held_out)
    rows = [
        shown(in_batches(judges["perceptual"].distance, before, samples), "perceptual"),
        shown(in_batches(lambda one, two: ssim_map(one, two).mean((1, 2)), before, samples), "ssim"),
        row("frechet_pretrained", frechet(features, reference.features[:count]), n=count),
        row("frechet_data", frechet(features, reference.data[:count]), n=count),
        row("kernel_pretrained", kernel_distance(features, reference.features[:count]), n=count),
        row("kernel_data", kernel_distance(features, reference.data), n=count),
        row("plausible", *share(plausibility.plausible(features)), n=count),
    ]
    if "attributes" in judges:
        drift = np.abs(in_batches(judges["attributes"], samples) - in_batches(judges["attributes"], before)).mean(1)
        rows.append(shown(drift, "attribute_drift"))
    return rows
