"""Measure edited pictures against the plain reconstruction: what the held-out judge no longer sees, and the price."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import pandas as pd
import torch

from palimpsest.judges import networks as judges
from palimpsest.judges.boxes import Detections, best_per_image
from palimpsest.judges.networks import FactorClassifier
from palimpsest.lcr.cells import cells_of, dilate, to_pixels
from palimpsest.lcr.thresholds import SWEEP, THRESHOLD
from palimpsest.metrics import similarity
from palimpsest.metrics.intervals import bootstrap, mcnemar
from palimpsest.metrics.measurements import mean_of, row, share_of
from palimpsest.models.pixels import to_tensor, to_unit
from palimpsest.options import check, module_of
from palimpsest.worlds.scenes import FACTORS

# Cells around a mask that a change may reach for geometric reasons alone: half of the smallest kernel's reach.
MARGIN = 1
BATCH = 32  # pictures whose features are compared at a time


class Evaluated(TypedDict):
    """Options of an evaluation. concept: its name in the measurements; classes: labels of the detector that are the
    concept; shows_concept: whether the set shows it; detector: the judge, a `Detector`.
    """

    concept: str
    classes: list[str]
    shows_concept: bool
    detector: dict


class Detector(TypedDict):
    """A row of `detectors`: a module of palimpsest.judges, its network's name, and the options of its `opened`."""

    module: str
    network: NotRequired[str]
    params: NotRequired[dict]


@dataclass(frozen=True)
class Judges:
    """What scores: a detector, none of whose weights made a mask or guided a training, and a factor classifier.

    classifier None (photographs have no factors): factor accuracies and `lpips_mini` are left out.
    """

    detect: Callable[[np.ndarray], Detections]
    labels: tuple[str, ...]
    classifier: FactorClassifier | None

    @classmethod
    def load(cls, detector: dict, network: Path | None, classifier: Path | None) -> "Judges":
        """detector: `module` of palimpsest.judges and its `params`; network: its weights, where it has some."""
        check(Detector, detector, "the judge")
        module = module_of("palimpsest.judges", detector["module"], "opened")
        params = detector.get("params", {})
        check(module.opened, params, f"params of the detector {detector['module']}")
        return cls(
            module.opened(network, **params),
            module.CLASSES,
            judges.load(classifier).to(memory_format=torch.channels_last) if classifier is not None else None,
        )


class Evaluation:
    """Pictures of one set, their reconstructions and masks; measures any edit of them.

    reconstruction: uint8 (n, H, W, 3). cells: the concept's latent cells (n, h, w). twins: uint8 pictures of the same
    scenes without the concept, or None. classes: labels that count as the concept.
    """

    def __init__(
        self,
        networks: Judges,
        classes: list[str],
        reconstruction: np.ndarray,
        cells: np.ndarray,
        manifest: pd.DataFrame,
        twins: np.ndarray | None = None,
    ):
        self.networks, self.classes, self.manifest = networks, classes, manifest
        self.near = to_pixels(dilate(cells, MARGIN), reconstruction.shape[1:3])
        self.reconstruction, self.twins = reconstruction, twins
        with torch.inference_mode():
            self.features = self._normalised_features(reconstruction)
            self.twin_features = self._normalised_features(twins) if twins is not None else None
        shown = self._boxes(reconstruction)
        shown = shown.select(shown.score >= THRESHOLD)
        size = reconstruction.shape[1:3]
        # Where a find is nothing new: near the mask, and where the reconstruction shows the concept already.
        self.known = self.near | cells_of(shown.image, shown.box, self.near.shape, size, "any")
        self.base = self._detect(reconstruction)

    def _normalised_features(self, pictures: np.ndarray) -> list[list[torch.Tensor]] | None:
        """The classifier's channel-normalised feature maps, batch by batch."""
        classifier = self.networks.classifier
        if classifier is None:
            return None
        parts = (as_input(pictures[part]) for part in _batches(len(pictures)))
        return [similarity.normalised(classifier.features(part)) for part in parts]

    def _boxes(self, pictures: np.ndarray) -> Detections:
        """The detector's boxes of the concept."""
        found = self.networks.detect(pictures)
        return found.select(np.isin(np.asarray(self.networks.labels)[found.label], self.classes))

    def _detect(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """The best score of a box anywhere in each picture, and of one that is new, by its centre.

        Anywhere, because what shows the concept shows it wherever the mask is: a mask that missed the object must not
        make its owner look forgotten.
        """
        found = self._boxes(pictures)
        x, y = ((found.box[:, :2] + found.box[:, 2:]) / 2).astype(int).T
        height, width = self.known.shape[1:]
        known = self.known[found.image, y.clip(0, height - 1), x.clip(0, width - 1)]
        return {
            "score": best_per_image(found, len(pictures)),
            "score_new": best_per_image(found.select(~known), len(pictures)),
        }

    @torch.inference_mode()
    def per_image(self, edited: np.ndarray, changed: np.ndarray | None) -> pd.DataFrame:
        """One row per image: scores, factors read, and distances to the reconstruction, whole and outside the mask.

        edited: uint8 (n, H, W, 3). changed: cells (n, h, w) whose code differs, or None for edits of pixels.
        """
        parts = [self._compare(edited, index, part) for index, part in enumerate(_batches(len(edited)))]
        table = pd.DataFrame(
            self._detect(edited) | {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        )
        if changed is not None:
            table["cells_changed"] = changed.mean((1, 2))
        return table

    def _compare(self, edited: np.ndarray, index: int, part: slice) -> dict[str, np.ndarray]:
        """Distances and factors of the batch `index`, the pictures `part`: one value per picture each."""
        pictures, reference = as_input(edited[part]), as_input(self.reconstruction[part])
        outside = torch.from_numpy(~self.near[part])
        maps = {
            "error": similarity.error_map(to_unit(pictures), to_unit(reference)),
            "ssim": similarity.ssim_map(edited[part], self.reconstruction[part]),
        }
        maps_outside, found = dict(maps), {}
        if self.features is not None:
            features = self.networks.classifier.features(pictures)
            for name, logits in self.networks.classifier.read(features[-1]).items():
                if name in FACTORS:
                    guess = np.asarray(FACTORS[name])[logits.argmax(1).numpy()]
                    found[f"{name}_right"] = guess == self.manifest[name].to_numpy()[part]
            features = similarity.normalised(features)
            maps["lpips_mini"] = similarity.perceptual_map(features, self.features[index])
            # Features near the mask read into it: with the reconstruction inside, they see the outside's change alone.
            composed = self.networks.classifier.features(torch.where(outside[:, None], pictures, reference))
            maps_outside["lpips_mini"] = similarity.perceptual_map(
                similarity.normalised(composed), self.features[index]
            )
            if self.twin_features is not None:
                twin = similarity.perceptual_map(features, self.twin_features[index])
                found["twin_lpips_mini"] = twin.mean((1, 2)).numpy()
        for name, values in maps.items():
            found[name] = values.mean((1, 2)).numpy()
            found[f"{name}_outside"] = similarity.masked_mean(maps_outside[name], outside).numpy()
        return found

    def summary(self, table: pd.DataFrame, shows_concept: bool, **labels) -> list[dict]:
        """Measurements of one edit from its per-image table; forgetting only where the set shows the concept."""
        rows = []
        if shows_concept:
            # An image without a mask cannot be edited locally: it stays in, and counts against the method.
            before, after = self.base["score"], table["score"].to_numpy()
            rows += [share_of("detection_rate", after >= THRESHOLD, **labels)]
            rows += [share_of("detection_rate_at", after >= limit, threshold=limit, **labels) for limit in SWEEP]
            rows.append(_mean("score_drop", before - after, **labels))
            gone = int(((before >= THRESHOLD) & (after < THRESHOLD)).sum())
            came = int(((before < THRESHOLD) & (after >= THRESHOLD)).sum())
            rows.append(row("mcnemar_p", mcnemar(gone, came), n=gone + came, **labels))
        rows.append(share_of("new_detections", table["score_new"].to_numpy() >= THRESHOLD, **labels))
        for factor in FACTORS:
            if f"{factor}_right" in table:
                rows.append(share_of(f"{factor}_accuracy", table[f"{factor}_right"].to_numpy(), **labels))
        for name in ("error", "error_outside"):
            values = table[name].to_numpy()
            values = values[np.isfinite(values)]
            low, high = bootstrap(values)
            rows.append(
                row(
                    name.replace("error", "psnr"),
                    similarity.psnr(float(values.mean())),
                    similarity.psnr(high),
                    similarity.psnr(low),
                    n=len(values),
                    **labels,
                )
            )
        measured = ("ssim", "ssim_outside", "lpips_mini", "lpips_mini_outside", "twin_lpips_mini", "cells_changed")
        rows += [_mean(name, table[name].to_numpy(), **labels) for name in measured if name in table]
        return rows


def as_input(pictures: np.ndarray) -> torch.Tensor:
    """Pictures as the classifier takes them fastest."""
    return to_tensor(pictures).contiguous(memory_format=torch.channels_last)


def _batches(count: int) -> list[slice]:
    return [slice(start, start + BATCH) for start in range(0, count, BATCH)]


def _mean(metric: str, values: np.ndarray, **labels) -> dict:
    values = np.asarray(values, np.float64)
    return mean_of(metric, values[np.isfinite(values)], **labels)
