"""Train a classifier of the factors that a world's manifest names, and measure it on held-out pictures."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from palimpsest.arrays import read_pictures, read_table
from palimpsest.judges.augment import augment
from palimpsest.judges.networks import FactorClassifier
from palimpsest.models import weights
from palimpsest.models.pixels import to_tensor
from palimpsest.models.training import Training, fit
from palimpsest.options import Count, Positive, check
from palimpsest.run import Input, Output, step


class Settings(Training):
    """Options of the training. factors: manifest columns, each with its values in the order of the outputs."""

    factors: dict[str, list]
    width: Positive


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
    """Train the classifier that params describe."""
    check(Settings, params, "params of the classifier")
    images, shown = read_pictures(train_images), read_pictures(test_images)
    factors, rng = params["factors"], np.random.default_rng(seed)
    wanted, wanted_test = (
        targets_of(read_table(path, tuple(factors), len(pictures)), factors)
        for path, pictures in ((train_manifest, images), (test_manifest, shown))
    )
    test = to_tensor(shown)
    model = FactorClassifier({name: len(values) for name, values in factors.items()}, params["width"])

    def loss_of(picks: np.ndarray, index: int) -> Tensor:
        logits = model(recoloured(augment(to_tensor(images[picks]), rng, mirror=False)[0], rng))
        return sum(F.cross_entropy(logits[name].float(), wanted[name][picks]) for name in factors)

    settings = {key: params[key] for key in ("batch", "steps", "learning_rate")}
    losses = fit(model, loss_of, count=len(images), seed=seed, **settings)
    with torch.inference_mode():
        logits = model(test)
    quality = {
        f"{name}_accuracy": float((logits[name].argmax(1) == wanted_test[name]).float().mean()) for name in factors
    }
    weights.save(network, model, model.config)
    return {"losses": losses, "quality": quality}


def recoloured(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Each picture's channels stretched and shifted: a small model's colours are off, its shapes are not."""
    gain, shift = rng.uniform(0.4, 1.1, (len(images), 3, 1, 1)), rng.uniform(-0.5, 0.5, (len(images), 3, 1, 1))
    return images * torch.from_numpy(gain).float() + torch.from_numpy(shift).float()


def targets_of(rows: pd.DataFrame, factors: dict[str, list]) -> dict[str, Tensor]:
    """Class indices (n,) of each factor."""
    codes = {name: pd.Categorical(rows[name], categories=values).codes for name, values in factors.items()}
    return {name: torch.from_numpy(np.asarray(values, np.int64)) for name, values in codes.items()}


if __name__ == "__main__":
    step(train)
