"""What a family gives to an edit. Parts that a family lacks are absent; asking for one is an error that names it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from palimpsest.models.pixels import Pictures
from palimpsest.run import UserError
from palimpsest.unlearning import streams
from palimpsest.unlearning.rollouts import Rollouts
from palimpsest.unlearning.streams import Stream

# What a method may ask for and a family need not have, and what it is.
PARTS = {
    "frozen": "the pretrained network",
    "alphas_cumprod": "a schedule of noise",
    "surrogate": "a picture that stands in for each target",
    "neighbours": "remembered pictures nearest to the target",
    "conditioning": "a concept that the network is conditioned on",
    "anchor": "pictures of what the concept becomes",
}
PIXELS = (-1.0, 1.0)  # the range of images, which latents have not


@dataclass(frozen=True)
class Examples:
    """Images (n, c, h, w) in [-1, 1], or latents, and conditions (n, ...) where the network takes them."""

    images: Tensor | Pictures
    conditions: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Conditioning:
    """A concept's conditions as the network takes them: classes (k,), token ids (k, length) or embeddings.

    concept (k, ...): of what is to be forgotten; none (...): of nothing, which guidance leads away from, absent where
    the network has learned it itself; others (m, ...): of what is to stay; anchors (k, ...): what each row of the
    concept becomes without it. named (k, length): which tokens of each concept prompt name the concept; anchors_named:
    which of the anchors' took their place, none of them where the words are left out. alone (a, ...): prompts that name
    the concept and nothing else; a full caption leads away from all that it says. Any of the last four may be absent.
    """

    concept: Tensor
    none: Tensor | None
    others: Tensor
    anchors: Tensor | None = None
    named: Tensor | None = None
    anchors_named: Tensor | None = None
    alone: Tensor | None = None

    def __post_init__(self):
        """Raise ValueError where not every row of the concept has its own of the others."""
        for name in ("anchors", "named", "anchors_named"):
            found = getattr(self, name)
            if found is not None and len(found) != len(self.concept):
                raise ValueError(f"{len(found)} rows of {name} cannot go with {len(self.concept)} of the concept")

    def part(self, name: str) -> Tensor:
        """A part that may be absent, by its name. Raises ValueError where it is."""
        found = getattr(self, name)
        if found is None:
            raise ValueError(f"the conditioning has no {name}, which this method needs: a class has none, a prompt can")
        return found

    @property
    def bare(self) -> Tensor:
        """What names the concept and nothing else, where that is known; else the concept's conditions."""
        return self.concept if self.alone is None else self.alone

    def concepts(self, which: Tensor | np.ndarray) -> Tensor:
        """Conditions of the concept (n, ...), taken in turn: the i-th of all is row i % k."""
        return in_turn(self.concept, which)

    def rows_of(self, conditions: Tensor | None) -> Tensor:
        """Which row of the concept each condition (n, ...) is equal to. Raises ValueError for one that is none."""
        if conditions is None:
            raise ValueError("the targets have no prompts")
        same = (conditions[:, None] == self.concept).reshape(len(conditions), len(self.concept), -1).all(2)
        if not same.any(1).all():
            raise ValueError("a target's prompt is none of the concept's, so that nothing says what of it is to change")
        return same.int().argmax(1)


def in_turn(conditions: Tensor, which: Tensor | np.ndarray) -> Tensor:
    """Rows of conditions (k, ...), the i-th of all being row i % k."""
    return conditions[torch.as_tensor(which, device=conditions.device) % len(conditions)]


@dataclass(frozen=True)
class Context:
    """A family's part of an edit: what is forgotten and remembered, and what else a method may see.

    target: what is to be forgotten; remember: what is to be kept; of a next-scale model both are rollouts. timesteps:
    how many the model has; 1 where it has none. seed: the run's.
    frozen: the pretrained network, called as the student is: network(noisy, timesteps[, conditions]) -> noise (or
    velocity). alphas_cumprod (T,): the schedule of a model that predicts noise. surrogate: an image for each target.
    neighbours (k, c, h, w): remembered images nearest to the target, nearest first. conditioning: of the concept.
    anchor: pictures of what the concept becomes, the i-th of row i % k of the conditioning's anchors. bounds: the
    range of a clean image; None of latents, which have no range.
    """

    family: str
    target: Examples | Rollouts
    remember: Examples | Rollouts
    timesteps: int
    seed: int = 0
    frozen: nn.Module | None = None
    alphas_cumprod: Tensor | None = None
    surrogate: Tensor | None = None
    neighbours: Tensor | None = None
    conditioning: Conditioning | None = None
    anchor: Examples | None = None
    bounds: tuple[float, float] | None = PIXELS
    method: str = ""  # the one that asks: the door names it

    def part(self, name: str):
        """An optional part by its name (PARTS). Raises UserError where the family has none."""
        found = getattr(self, name)
        if found is None:
            raise UserError(
                f"method {self.method} asks for {name} ({PARTS[name]}), which the family {self.family} does not have "
                "here: choose another method or setting"
            )
        return found

    def random(self, stream: Stream, *more: int) -> np.random.Generator:
        """A generator that depends on the seed, the stream and `more` (the step's number) only."""
        return streams.generator(self.seed, stream, *more)

    def number(self, stream: Stream, *more: int) -> int:
        """One number that depends on the same, for noise that is drawn by place."""
        return streams.number(self.seed, stream, *more)
