"""A perceptual distance in the features of a small classifier, for trainings; it judges nothing."""

import torch
from torch import Tensor
from torch.nn import functional as F


def perceptual(critic, made: Tensor, pictures: Tensor) -> Tensor:
    """Mean squared distance of channel-normalised features of the first three stages."""
    with torch.no_grad():
        wanted = critic.features(pictures)[:3]
    found = critic.features(made)[:3]
    pairs = zip(found, wanted, strict=True)
    return sum((F.normalize(a.float(), dim=1) - F.normalize(b.float(), dim=1)).square().sum(1).mean() for a, b in pairs)
