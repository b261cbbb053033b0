"""Train a judge of the faces world, and measure it on people it has not seen."""

from typing import Literal, NotRequired

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from palimpsest.arrays import read_pictures, read_table
from palimpsest.judges.face_networks import FaceNetwork
from palimpsest.judges.face_quality import ATTRIBUTES, attribute_quality, descriptor_quality, taken_anew
from palimpsest.models import weights
from palimpsest.models.pixels import to_tensor
from palimpsest.models.training import Training, fit
from palimpsest.options import Count, Positive, Size, check
from palimpsest.run import Input, Output, step
from palimpsest.worlds.faces import IDENTITY


class Settings(Training):
    """Options of the training; of a descriptor also its dimensions, temperature and the spreading loss's weight.

    damage: weight of what teaches a descriptor that a picture is less alike to itself, the more it is damaged.
    """

    kind: Literal["descriptor", "attributes"]
    width: Positive
    outputs: NotRequired[Positive]
    temperature: NotRequired[Size]
    spreading: NotRequired[Size]
    damage: NotRequired[Size]


def train(
    train_images: Input,
    train_manifest: Input,
    test_images: Input,
    test_manifest: Input,
    network: Output,
    *,
    params: dict,
    seed: Count = 0,
) -> dict:
    """Train the network that params describe."""
    check(Settings, params, "params of the judge")
    images, shown = read_pictures(train_images), read_pictures(test_images)
    people, test_people = (
        read_table(path, ATTRIBUTES, len(pictures))
        for path, pictures in ((train_manifest, images), (test_manifest, shown))
    )
    settings = {key: params[key] for key in ("batch", "steps", "learning_rate")}
    rng, size = np.random.default_rng(seed), images.shape[1]
    if params["kind"] == "descriptor":
        model = FaceNetwork("descriptor", params["outputs"], params["width"], size)
        identity, damage = people[list(IDENTITY)].to_numpy(), params.get("damage", 0.0)

        def loss_of(picks: np.ndarray, index: int) -> Tensor:
            views = [disturbed(to_tensor(taken_anew(identity[picks], size, rng)), rng) for _ in range(2)]
            if damage:
                levels = torch.from_numpy(rng.random(len(picks), np.float32))
                views.append(damaged(views[0], levels, rng))
            first, second, *ruined = model.embed(torch.cat(views)).float().chunk(len(views))
            loss = descriptor_loss(first, second, params["temperature"], params["spreading"])
            return loss + damage * F.mse_loss((first * ruined[0]).sum(1), 1 - levels) if damage else loss

    else:
        model = FaceNetwork("attributes", len(ATTRIBUTES), params["width"], size)
        truth = torch.from_numpy(people[list(ATTRIBUTES)].to_numpy(np.float32, copy=True))

        def loss_of(picks: np.ndarray, index: int) -> Tensor:
            return F.mse_loss(model(disturbed(to_tensor(images[picks]), rng)).float(), truth[picks])

    losses = fit(model, loss_of, count=len(images), seed=seed, **settings)
    if params["kind"] == "descriptor":
        quality = descriptor_quality(model, test_people)
    else:
        quality = attribute_quality(model, shown, test_people)
    weights.save(network, model, model.config)
    return {"losses": losses, "quality": quality}


def disturbed(images: Tensor, rng: np.random.Generator) -> Tensor:
    """The images softened and with noise, each by its own amount: generated pictures are soft or grainy."""
    amounts = torch.from_numpy(rng.uniform(0, 1, (2, len(images), 1, 1, 1)).astype(np.float32))
    soft = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    noise = torch.from_numpy(rng.standard_normal(images.shape, np.float32))
    return images.lerp(soft, amounts[0]) + 0.15 * amounts[1] * noise


def damaged(images: Tensor, levels: Tensor, rng: np.random.Generator) -> Tensor:
    """Images (n, 3, h, w) in [-1, 1], each damaged in a way of its own, from not at all (0) to past recognition (1).

    The ways: noise up to a standard deviation of 150 (of 255), blur over a quarter of the picture, loss of contrast to
    the mean colour, and squares of an eighth of the side from another picture, as many as the level says.
    """
    count, size, level = len(images), images.shape[-1], levels[:, None, None, None]
    noise = images + 150 / 127.5 * level * torch.from_numpy(rng.standard_normal(images.shape, np.float32))
    width = size // 4 + 1 - size // 4 % 2
    soft = F.avg_pool2d(images, width, stride=1, padding=width // 2, count_include_pad=False)
    squares = torch.from_numpy(rng.random((count, 1, 8, 8), np.float32)) < level
    other = F.interpolate(squares.float(), images.shape[-2:]) > 0
    ways = torch.stack(
        [
            noise.clamp(-1, 1),
            images.lerp(soft, level),
            images.lerp(images.mean((2, 3), keepdim=True), level),
            torch.where(other, images.roll(1, 0), images),
        ]
    )
    return ways[torch.from_numpy(rng.integers(len(ways), size=count)), torch.arange(count)]


def descriptor_loss(first: Tensor, second: Tensor, temperature: float, spreading: float) -> Tensor:
    """InfoNCE of two views (n, d) in both directions (Oord et al. 2018), less the log distance to the nearest other.

    The second term spreads descriptors evenly (KoLeo, Sablayrolles et al. 2019), as SSCD uses it.
    """
    logits, match = first @ second.T / temperature, torch.arange(len(first))
    contrast = (F.cross_entropy(logits, match) + F.cross_entropy(logits.T, match)) / 2
    apart = torch.cdist(first, first) + 10 * torch.eye(len(first))
    return contrast - spreading * (apart.min(1).values + 1e-4).log().mean()


if __name__ == "__main__":
    step(train)
