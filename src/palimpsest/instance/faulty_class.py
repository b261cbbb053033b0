"""The class of a conditional model that is drawn wrong in part of its pictures: what a judge reads in samples."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from palimpsest.instance.judging import share, shown
from palimpsest.judges.batches import in_batches
from palimpsest.judges.networks import FactorClassifier
from palimpsest.metrics.measurements import row
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
    """Same-seed samples, uint8: `own` of the faulty class, `others` of the other classes, with their labels.

    shown: numbers of the own samples that figures show, chosen before anything is unlearned; those drawn are the first.
    """

    own: np.ndarray
    others: np.ndarray
    labels: np.ndarray
    shown: np.ndarray

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
        )

    @classmethod
    def read(cls, path: Path) -> "Samples":
        """From the file that `faulty_reference` writes."""
        with np.load(path) as file:
            return cls(file["own"], file["others"], file["labels"], file["shown"])


def read_factors(judge: FactorClassifier, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """The value (n,) of every factor that the judge reads."""
    return {name: in_batches(lambda part, name=name: judge(part)[name].argmax(1), pictures) for name in judge.heads}


def distances(judge: FactorClassifier, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """`lpips_mini` (n,) by the judge's features."""

    def of(one: Tensor, two: Tensor) -> Tensor:
        return perceptual_map(normalised(judge.features(one)), normalised(judge.features(two))).mean((1, 2))

    return in_batches(of, first, second)


def wrong_first(judge: FactorClassifier, own: np.ndarray, fault: Fault) -> np.ndarray:
    """Numbers of the samples that figures show: those with the wrong symbol, at most half, then the first others.

    A rare fault would hardly be among the first samples.
    """
    found = read_factors(judge, own)
    wrong = (found[fault.symbol_factor] == fault.wrong) & (found[fault.class_factor] == fault.label)
    first = np.flatnonzero(wrong)[: PANEL // 2]
    return np.concatenate([first, np.flatnonzero(~wrong)])[:PANEL]


def rates(judge: FactorClassifier, samples: Samples, before: Samples, fault: Fault) -> list[dict]:
    """How often the class is drawn with the wrong and with the right symbol, and how good pictures changed.

    wrong_rate and right_rate: samples of the class's label that are of the class and show that symbol, as a share of
    all; what is left over is of another class or shows neither. The change is against `before`.
    """
    own, others = (read_factors(judge, each) for each in (samples.own, samples.others))
    was, was_others = (read_factors(judge, each) for each in (before.own, before.others))
    good = (was[fault.symbol_factor] == fault.right) & (was[fault.class_factor] == fault.label)
    in_class = own[fault.class_factor] == fault.label
    same_symbol = others[fault.symbol_factor] == was_others[fault.symbol_factor]
    both = (others[fault.class_factor] == samples.labels) & same_symbol
    rows = [
        row("wrong_rate", *share((own[fault.symbol_factor] == fault.wrong) & in_class), n=len(in_class)),
        row("right_rate", *share((own[fault.symbol_factor] == fault.right) & in_class), n=len(in_class)),
        row("class_kept", *share(in_class), n=len(in_class)),
        row("others_kept", *share(both), n=len(both)),
    ]
    pairs = {"good": (samples.own[good], before.own[good]), "others": (samples.others, before.others)}
    for kind, (after, earlier) in pairs.items():
        if len(after):
            rows.append(shown(distances(judge, after, earlier), "perceptual", kind=kind))
            rows.append(shown(ssim(after, earlier), "ssim", kind=kind))
    return rows
