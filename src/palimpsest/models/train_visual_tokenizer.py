"""Train the visual tokenizer of a next-scale model, and measure what comes back of held-out pictures.

Loss: 2 L2 + L1 of the pixels, the concept's weighing more, a perceptual distance in the features of the guide
classifier (a network that judges nothing later), and what draws the features to their tokens (van den Oord et al.
2017), and the codebook, where there is one, to the features. Half of each batch is decoded with some symbols wrong, so
that the decoder forgives a sampler's mistakes.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.judges import networks
from palimpsest.judges.quality import given_back
from palimpsest.models import visual_tokenizer
from palimpsest.models.perceptual import perceptual
from palimpsest.models.residual_quantiser import Codes, drawn_offsets
from palimpsest.models.scales import spans
from palimpsest.models.training import Kept, Training, built, fit_average, weighed_pictures
from palimpsest.models.visual_tokenizer import VisualTokenizer
from palimpsest.models.weights import filled, halved
from palimpsest.options import Count, Share, Size, check
from palimpsest.run import Input, Output, sha256, step, torch_device


class Settings(Training):
    """Options of the training. architecture: as `VisualTokenizer` takes it; average: decay of the kept average.

    mask_weight: how much more a pixel of the concept counts; commitment_weight: of the features' distance to their
    tokens; flips: the highest share of wrong symbols of a scale.
    """

    architecture: dict
    average: Share
    perceptual_weight: Size
    mask_weight: Size
    commitment_weight: Size
    flips: Share


def train(
    train_images: Input,
    train_masks: Input,
    test_images: Input,
    test_manifest: Input,
    guide: Input,
    judge: Input,
    detector: Input,
    network: Output,
    *,
    start: Input | None = None,
    params: dict,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """Train the tokenizer that params describe, from the weights of `start` where that is given."""
    check(Settings, params, "params of the visual tokenizer")
    place = torch_device(device)
    images, masks = np.load(train_images, mmap_mode="r"), np.load(train_masks, mmap_mode="r")
    model = built(VisualTokenizer, params["architecture"]).to(place)
    if start is not None:
        filled(model, start)
    critic = networks.load(guide).to(place)

    def loss_of(picks: np.ndarray, index: int) -> Tensor:
        rng = np.random.default_rng((seed, index))
        drawn = weighed_pictures(images, masks, picks, params["mask_weight"], rng)
        pictures, weight = (each.to(place) for each in drawn)
        made, features, total = model(pictures, wrong_symbols(model, len(picks), rng, params["flips"]).to(place))
        error = made - pictures
        pixels = (weight * (2 * error.square() + error.abs())).mean()
        return (
            pixels
            + params["perceptual_weight"] * perceptual(critic, made, pictures)
            + params["commitment_weight"] * commitment(model, features, total)
        )

    recipe = {"params": params, "seed": seed, "data": sha256(train_images), "guide": sha256(guide)}
    recipe |= {} if start is None else {"start": sha256(start)}
    averaged, losses = fit_average(
        model, loss_of, params, count=len(images), seed=seed, kept=Kept.beside(network, recipe)
    )
    visual_tokenizer.save(network, halved(averaged.eval()))
    rows = pd.read_parquet(test_manifest)
    return {
        "losses": losses,
        "quality": quality_of(averaged.cpu(), np.load(test_images), rows, judge, detector),
        "parameters": sum(part.numel() for part in averaged.parameters()),
    }


def wrong_symbols(model: VisualTokenizer, count: int, rng: np.random.Generator, strength: float) -> Tensor:
    """Offsets for a batch, none of them in its first half."""
    parts = model.quantiser
    found = drawn_offsets(rng, count, parts.sizes, parts.symbols, parts.values, strength)
    found[: count // 2] = 0
    return found


def commitment(model: VisualTokenizer, features: Tensor, total: Tensor) -> Tensor:
    """The features' mean squared distance to their tokens, summed over channels; the codebook's to the features too."""
    found = (features.float() - total.detach()).square().sum(1).mean()
    if isinstance(model.quantiser.tokens, Codes):
        found = found + 4 * (features.detach().float() - total).square().sum(1).mean()  # beta is a quarter
    return found


def quality_of(
    network: VisualTokenizer, pictures: np.ndarray, rows: pd.DataFrame, judge: Path, detector: Path
) -> dict[str, float | dict | list]:
    """What comes back of pictures, as `given_back` says it, and of each scale the mean entropy of a symbol.

    In bits, over its places: 0 where it is the same in all pictures.
    """
    features = visual_tokenizer.encode(network, pictures)
    with torch.inference_mode():
        found = network.quantiser.quantise(features)
    back = visual_tokenizer.decode(network, found.total)
    quality = given_back(pictures, back, rows, judge, detector)
    shares = torch.nn.functional.one_hot(found.symbols, network.quantiser.values).double().mean(0)
    entropy = -(shares * shares.clamp(min=1e-12).log2()).sum(-1)
    return quality | {"symbol_entropy": [float(entropy[part].mean()) for part in spans(network.quantiser.sizes)]}


if __name__ == "__main__":
    step(train)
