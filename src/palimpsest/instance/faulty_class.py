"""The class of a conditional model that is drawn wrong in part of its pictures: what a judge reads in samples."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from palimpsest.judges.batches import in_batches
from palimpsest.judges.networks import FactorClassifier
from palimpsest.metrics.distribution import Plausibility
from palimpsest.metrics.measurements import mean_of, share_of
from palimpsest.metrics.similarity import normalised, perceptual_map, ssim
from palimpsest.models import diffusion

PANEL = 16  # samples that are kept as pictures


@dataclass(frozen=True)
class Fault:
    """The class (`factor` == `label`) that should show `right` and shows `wrong` in part of its pictures.

    class_factor and symbol_factor are heads of the judge; labels, right and wrong are numbers of their outputs.
    """

    class_factor: str
    symbol_factor: str
    label: int
    right: int
    wrong: int


@dataclass(frozen=True)
class Samples:
    """Same-seed samples of a seed, uint8: `own` of the faulty class, `others` of the other classes, with their labels.

    shown: numbers of the own samples that figures show, chosen before anything is unlearned; those drawn are the first.
    """

    own: np.ndarray
    others: np.ndarray
    labels: np.ndarray
    shown: np.ndarray
    seed: int

    @classmethod
    def draw(cls, unet, scheduler, fault: Fault, own: int, others: int, steps: int, seed: int) -> "Samples":
        """So many of the faulty class, and so many of the others in turn."""
        classes = [label for label in range(unet.config.num_class_embeds - 1) if label != fault.label]
        labels = torch.tensor(classes).repeat(-(-others // len(classes)))[:others]
        settings = {"steps": steps, "seed": seed}
        mine = torch.full((own,), fault.label)
        return cls(
            diffusion.sample(unet, scheduler, np.arange(own), labels=mine, **settings),
            diffusion.sample(unet, scheduler, np.arange(others), labels=labels, **settings),
            labels.numpy(),
            np.arange(min(own, PANEL)),
            seed,
        )

    @classmethod
    def read(cls, path: Path) -> "Samples":
        """From the file that `faulty_reference` writes."""
        with np.load(path) as file:
            return cls(file["own"], file["others"], file["labels"], file["shown"], int(file["seed"]))


@dataclass(frozen=True)
class Looks:
    """How data of each class looks, by the judge's features: whether a picture that was asked for looks like it.

    data, held_out: features (n, d), with the classes of their pictures.
    """

    data: np.ndarray
    data_labels: np.ndarray
    held_out: np.ndarray
    held_out_labels: np.ndarray

    @classmethod
    def read(cls, path: Path) -> "Looks":
        """From the file that `faulty_reference` writes."""
        with np.load(path) as file:
            return cls(*(file[name] for name in cls.__annotations__))

    def plausible(self, judge: FactorClassifier, pictures: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Which pictures look like data of the class that they were asked for (n,): see `Plausibility`."""
        found, looks = np.zeros(len(pictures), bool), in_batches(judge.appearance, pictures)
        for label in np.unique(labels):
            data, held_out = self.data[self.data_labels == label], self.held_out[self.held_out_labels == label]
            found[labels == label] = Plausibility(data, held_out).plausible(looks[labels == label])
        return found


def read_factors(judge: FactorClassifier, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """The value (n,) of every factor that the judge reads."""
    return {name: in_batches(lambda part, name=name: judge(part)[name].argmax(1), pictures) for name in judge.heads}


def distances(judge: FactorClassifier, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """`lpips_mini` (n,) by the judge's features."""

    def of(one: Tensor, two: Tensor) -> Tensor:
        return perceptual_map(normalised(judge.features(one)), normalised(judge.features(two))).mean((1, 2))

    return in_batches(of, first, second)


def wrong_first(judge: FactorClassifier, own: np.ndarray, fault: Fault, looks: Looks) -> np.ndarray:
    """Numbers of the samples that figures show: those with the wrong symbol, at most half, then the first others.

    A rare fault would hardly be among the first samples.
    """
    wrong = _read(judge, own, fault, looks)["wrong"]
    first = np.flatnonzero(wrong)[: PANEL // 2]
    return np.concatenate([first, np.flatnonzero(~wrong)])[:PANEL]


def rates(judge: FactorClassifier, samples: Samples, before: Samples, fault: Fault, looks: Looks) -> list[dict]:
    """How often the class is drawn with the wrong and with the right symbol, and how good pictures changed.

    wrong_rate and right_rate: samples of the class's label that look like data of the class (plausible), are read as of
    it and as showing that symbol, as a share of all; the rest is broken, of another class, or shows neither.
    gone: of those that were wrong before, which are not now; good_kept: of those that were right, which still are.
    others_kept: samples of other classes that look like data of theirs and are read as before. Before: `before`, of the
    same seeds.
    """
    now, was = (_read(judge, each.own, fault, looks) for each in (samples, before))
    after, earlier = (read_factors(judge, each.others) for each in (samples, before))
    same = after[fault.symbol_factor] == earlier[fault.symbol_factor]
    same &= after[fault.class_factor] == samples.labels
    rows = [*shares(now), share_of("others_kept", same & looks.plausible(judge, samples.others, samples.labels))]
    for metric, of, outcome in (("gone", "wrong", ~now["wrong"]), ("good_kept", "right", now["right"])):
        if was[of].any():
            rows.append(share_of(metric, outcome[was[of]]))
    good = was["right"]
    pairs = {"good": (samples.own[good], before.own[good]), "others": (samples.others, before.others)}
    for kind, (after, earlier) in pairs.items():
        if len(after):
            rows.append(mean_of("perceptual", distances(judge, after, earlier), kind=kind))
            rows.append(mean_of("ssim", ssim(after, earlier), kind=kind))
    return rows


RATES = {"wrong_rate": "wrong", "right_rate": "right", "class_kept": "of_class", "plausible": "plausible"}


def data_rates(judge: FactorClassifier, pictures: np.ndarray, fault: Fault, looks: Looks) -> list[dict]:
    """The rates (`rates`) of pictures of the class that no model drew: how often it is wrong in data."""
    return shares(_read(judge, pictures, fault, looks))


def shares(read: dict[str, np.ndarray]) -> list[dict]:
    """Rows of how many pictures are wrong, right, of the class, and plausible."""
    return [share_of(metric, read[key]) for metric, key in RATES.items()]


def _read(judge: FactorClassifier, own: np.ndarray, fault: Fault, looks: Looks) -> dict:
    """Which samples look like data of the class, are read as of it, and are wrong or right with both, (n,) each."""
    found = read_factors(judge, own)
    of_class, symbol = found[fault.class_factor] == fault.label, found[fault.symbol_factor]
    plausible = looks.plausible(judge, own, np.full(len(own), fault.label))
    wrong, right = (plausible & of_class & (symbol == each) for each in (fault.wrong, fault.right))
    return {"plausible": plausible, "of_class": of_class, "wrong": wrong, "right": right}
