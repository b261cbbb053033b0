"""How far apart two sets of pictures are, by features of a fixed network; features are float arrays (n, d)."""

import numpy as np
import scipy


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """Fréchet distance of the Gaussians with both sets' moments (Dowson and Landau 1982; FID's form, Heusel 2017).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). It is biased upwards by small n: compare sets of equal size only, and
    beside a floor (data half against data half).
    """
    mean_first, mean_second = first.mean(0, dtype=np.float64), second.mean(0, dtype=np.float64)
    if len(first) + len(second) < first.shape[1]:
        return _frechet_of_few(first - mean_first, second - mean_second, mean_first - mean_second)
    first, second = np.cov(first.astype(np.float64), rowvar=False), np.cov(second.astype(np.float64), rowvar=False)
    # tr (C1 C2)^(1/2) is the sum of the roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which is symmetric.
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(((mean_first - mean_second) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * shared)


def _frechet_of_few(first: np.ndarray, second: np.ndarray, apart: np.ndarray) -> float:
    """The same of centred rows (n, d) that are fewer than their columns: tr (C1 C2)^(1/2) is the nuclear norm of A B^T.

    A and B are the rows over the root of n - 1, so that C1 = A^T A: no matrix of d x d is made.
    """
    first, second = (each / np.sqrt(len(each) - 1) for each in (first, second))
    shared = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    return float((apart**2).sum() + (first**2).sum() + (second**2).sum() - 2 * shared)


def kernel_distance(first: np.ndarray, second: np.ndarray, paired: bool = False) -> float:
    """Squared maximum mean discrepancy under (x'y / d + 1)^3, unbiased for any n (KID, Bińkowski et al. 2018).

    paired: row i of both is the same thing before and after, so it is not compared with itself across the sets either;
    equal sets then give zero (the U-statistic of Gretton et al. 2012, eq. 4).
    """

    def kernel(one: np.ndarray, two: np.ndarray) -> np.ndarray:
        return (one.astype(np.float64) @ two.T / one.shape[1] + 1) ** 3

    def without_diagonal(one: np.ndarray, two: np.ndarray) -> float:
        values, count = kernel(one, two), len(one)
        return (values.sum() - np.trace(values)) / (count * (count - 1))

    across = without_diagonal(first, second) if paired else kernel(first, second).mean()
    return float(without_diagonal(first, first) + without_diagonal(second, second) - 2 * across)


class Plausibility:
    """Which pictures look like data: those no farther from it than all but 1 % of held-out data.

    Distance is Mahalanobis' in feature space. Broken pictures have an ordinary spread of pixels, but not of features.
    """

    def __init__(self, data: np.ndarray, held_out: np.ndarray, quantile: float = 0.99):
        """data gives the Gaussian, held_out the limit."""
        self.mean = data.mean(0, dtype=np.float64)
        covariance = np.cov(data.astype(np.float64), rowvar=False)
        # Features that never fire would otherwise make the covariance singular.
        covariance += 1e-3 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        self.factor = scipy.linalg.cholesky(covariance, lower=True)
        self.limit = float(np.quantile(self.distance(held_out), quantile))

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Mahalanobis distance (n,)."""
        centred = (features - self.mean).T
        return np.sqrt((scipy.linalg.solve_triangular(self.factor, centred, lower=True) ** 2).sum(0))

    def plausible(self, features: np.ndarray) -> np.ndarray:
        """bool (n,)."""
        return self.distance(features) <= self.limit
