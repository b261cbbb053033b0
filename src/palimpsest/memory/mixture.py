"""A mixture of Gaussians of low rank, whose diffusion model is known exactly, and models that know less.

Component k is N(m_k, U_k diag(v_k) U_k' + s^2 I): a flat of few dimensions, U_k (d, r) orthonormal, that the data
leave by a small s. Noised to the share a of the signal it is N(sqrt(a) m_k, a U_k diag(v_k) U_k' + (a s^2 + 1 - a) I),
so that the density, its score and the noise that a perfect network predicts are closed forms. Points are (n, d).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from palimpsest.memory.ddim import Predict, zero


@dataclass(frozen=True)
class Mixture:
    """Equal weights. means (K, d), bases (K, d, r), variances (K, r) along them; spread: s, off the flats; float64."""

    means: Tensor
    bases: Tensor
    variances: Tensor
    spread: float

    def without(self, component: int) -> "Mixture":
        """The mixture of the other components: what a model that never saw this one would know."""
        kept = [index for index in range(len(self.means)) if index != component]
        return replace(self, means=self.means[kept], bases=self.bases[kept], variances=self.variances[kept])


def random_mixture(seed: int, *, components: int, dimensions: int, rank: int, spread: float) -> Mixture:
    """Means of N(0, 0.35^2 I), random flats, standard deviations along them uniform from 0.5 to 2."""
    rng = np.random.default_rng((seed, 0))
    means = 0.35 * rng.standard_normal((components, dimensions))
    bases = np.linalg.qr(rng.standard_normal((components, dimensions, rank)))[0]
    variances = rng.uniform(0.5, 2, (components, rank)) ** 2
    return Mixture(*map(torch.from_numpy, (means, bases, variances)), spread)


def draw(mixture: Mixture, component: int, n: int, rng: np.random.Generator) -> Tensor:
    """Points (n, d) of a component."""
    means, bases, variances = mixture.means[component], mixture.bases[component], mixture.variances[component]
    along = torch.from_numpy(rng.standard_normal((n, bases.shape[1]))) * variances.sqrt()
    off = mixture.spread * torch.from_numpy(rng.standard_normal((n, bases.shape[0])))
    return means + along @ bases.T + off


def _parts(mixture: Mixture, points: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Log densities (K, n) of the noised components, weights included, and their scores (K, n, d)."""
    gaps = points - math.sqrt(share) * mixture.means[:, None]
    along = gaps @ mixture.bases
    off = share * mixture.spread**2 + 1 - share
    total = share * mixture.variances + off  # variances along the flats
    size, rank = mixture.bases.shape[1:]
    squares = gaps.square().sum(2) - along.square().sum(2)
    mahalanobis = squares / off + (along.square() / total[:, None]).sum(2)
    volume = total.log().sum(1) + (size - rank) * math.log(off) + size * math.log(2 * math.pi)
    scores = -gaps / off + (along * (1 / off - 1 / total)[:, None]) @ mixture.bases.transpose(1, 2)
    return -(mahalanobis + volume[:, None]) / 2 - math.log(len(mixture.means)), scores


def log_density(mixture: Mixture, points: Tensor, share: float = 1.0) -> Tensor:
    """log p (n,) in nats of points noised to a share of the signal; of the data themselves, share 1."""
    return _parts(mixture, points, share)[0].logsumexp(0)


def expected_noise(mixture: Mixture, points: Tensor, share: float) -> Tensor:
    """E[eps | point] = -sqrt(1 - a) times the score (n, d): what a perfect network predicts."""
    densities, scores = _parts(mixture, points, share)
    return -math.sqrt(1 - share) * (densities.softmax(0)[..., None] * scores).sum(0)


def of_mixture(mixture: Mixture, alphas_cumprod: Tensor) -> Predict:
    """The perfect network of a mixture, for latents (n, c, h, w) of d numbers."""
    shares = alphas_cumprod.tolist()

    def predict(noisy: Tensor, timestep: int, rows: Tensor) -> Tensor:
        return expected_noise(mixture, noisy.flatten(1), shares[timestep]).view_as(noisy)

    return predict


def knowing_nothing(alphas_cumprod: Tensor, dimensions: int, seed: int) -> dict[str, Predict]:
    """Networks that have seen no data: none at all (eps = 0), that of N(0, I) data, and a random one, tanh of W z."""
    shares = alphas_cumprod.tolist()
    weights = np.random.default_rng((seed, 1)).standard_normal((dimensions, dimensions)) / math.sqrt(dimensions)
    weights = torch.from_numpy(weights)
    return {
        "zero": zero,
        "white": lambda noisy, timestep, rows: math.sqrt(1 - shares[timestep]) * noisy,
        "random": lambda noisy, timestep, rows: torch.tanh(noisy.flatten(1) @ weights).view_as(noisy),
    }
