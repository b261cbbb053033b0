"""Linear classifiers on code grids: logit(c) = bias + sum over cells p of <position_p, embedding[c_p]>.

The model is a table of one logit per (code, cell), factorised at rank r (the embedding-and-one-linear-unit classifier
of Cabibbo et al. 2025, without its dropout). Three kinds share it; what they may learn differs:

* `bag`: position is 1 everywhere, so that only how often a code occurs counts;
* `position`: the grid's codes are replaced by how often each occurs in its own grid (see `multiplicity`). Renaming
  the codes of a grid changes nothing, so only the layout counts: a control without any code identity;
* `full`: both factors are learned.

Gradients are closed form: with residuals g_n, S[k, p] = sum over images with c[n, p] = k of g_n, the gradient of the
embedding is S position, that of the position S^T embedding. That makes an epoch two passes of gather and count.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.optimize import minimize
from scipy.special import expit

from palimpsest.run import UserError

Kind = Literal["bag", "position", "full"]
KINDS: tuple[Kind, ...] = ("bag", "position", "full")
CELLS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class LinearCodeModel:
    """position (P, r) and embedding (K, r), the factors of the table of logits, and the bias."""

    position: np.ndarray
    embedding: np.ndarray
    bias: float

    def table(self) -> np.ndarray:
        """What code k adds to the logit at cell p, shape (K, P)."""
        return self.embedding @ self.position.T

    def cell_logits(self, codes: np.ndarray) -> np.ndarray:
        """What every cell adds to the logit, shape (n, P), from code grids (n, h, w) or (n, P)."""
        return np.concatenate([self.table().ravel()[index] for _, index in _indices(codes, len(self.position))])

    def logits(self, codes: np.ndarray) -> np.ndarray:
        """The logit (n,) of each grid; positive says concept."""
        table = self.table().ravel()
        parts = [table[index].sum(1) for _, index in _indices(codes, len(self.position))]
        return self.bias + np.concatenate(parts)


def _indices(codes: np.ndarray, cells: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Chunks of images, and where in the flattened table (K, P) each of their cells reads."""
    size = max(1, CELLS_AT_ONCE // cells)
    for start in range(0, max(len(codes), 1), size):
        part = np.asarray(codes[start : start + size], np.int64)
        yield slice(start, start + size), part.reshape(len(part), cells) * cells + np.arange(cells)


def multiplicity(codes: np.ndarray, codebook_size: int, levels: int) -> np.ndarray:
    """How often each cell's code occurs in its own grid, as floor(log2) capped at levels - 1; shape (n, h, w)."""
    seen = np.empty(codes.shape, np.uint8)
    size = max(1, CELLS_AT_ONCE // codebook_size)
    for start in range(0, len(codes), size):
        part = np.asarray(codes[start : start + size], np.int64)
        index = part + codebook_size * np.arange(len(part))[:, None, None]
        counts = np.bincount(index.ravel(), minlength=len(part) * codebook_size)
        seen[start : start + size] = np.minimum(np.log2(counts[index]).astype(np.uint8), levels - 1)
    return seen


def fit(
    kind: Kind,
    codes: np.ndarray,
    labels: np.ndarray,
    held_out: tuple[np.ndarray, np.ndarray],
    codebook_size: int,
    *,
    rank: int,
    weight_decay: float,
    iterations: int,
    patience: int,
    seed: int = 0,
) -> tuple[LinearCodeModel, int]:
    """Fit by L-BFGS on the weighted logistic loss; returns the weights of lowest held-out loss, and their iteration.

    codes (n, h, w), labels (n,) bool, held_out the same two for early stopping. Classes weigh the same whatever
    their sizes. For `position` codes are multiplicities and codebook_size their levels. `full` starts from the fitted
    `bag` plus small random factors: it can only learn what the place of a code adds.
    """
    cells = int(np.prod(codes.shape[1:]))
    settings = {"weight_decay": weight_decay, "iterations": iterations, "patience": patience}
    if kind == "bag":
        start = LinearCodeModel(np.ones((cells, 1)), np.zeros((codebook_size, 1)), 0.0)
        return _descend(start, ("embedding",), codes, labels, held_out, **settings)
    if kind == "position":
        start = LinearCodeModel(np.zeros((cells, codebook_size)), np.eye(codebook_size), 0.0)
        return _descend(start, ("position",), codes, labels, held_out, **settings)
    bag, _ = fit("bag", codes, labels, held_out, codebook_size, rank=1, seed=seed, **settings)
    rng = np.random.default_rng(seed)
    position, embedding = (0.1 * rng.standard_normal((size, rank)) for size in (cells, codebook_size))
    position[:, 0], embedding[:, 0] = 1, bag.embedding[:, 0]
    start = LinearCodeModel(position, embedding, bag.bias)
    return _descend(start, ("position", "embedding"), codes, labels, held_out, **settings)


def _descend(start, free, codes, labels, held_out, *, weight_decay, iterations, patience):
    def model_of(values: np.ndarray) -> LinearCodeModel:
        sizes = np.cumsum([getattr(start, name).size for name in free])
        parts = [
            part.reshape(getattr(start, n).shape)
            for n, part in zip(free, np.split(values[:-1], sizes[:-1]), strict=True)
        ]
        return replace(start, bias=values[-1], **dict(zip(free, parts, strict=True)))

    def loss_of(values: np.ndarray) -> tuple[float, np.ndarray]:
        model = model_of(values)
        loss, gradient = loss_and_gradient(model, codes, labels)
        slope = np.concatenate([gradient[name].ravel() for name in free])
        weights = values[:-1]
        total = loss + 0.5 * weight_decay * float(weights @ weights)
        return total, np.append(slope + weight_decay * weights, gradient["bias"])

    first = np.append(np.concatenate([getattr(start, name).ravel() for name in free]), start.bias)
    best = {"loss": loss_and_gradient(start, *held_out)[0], "values": first, "at": 0, "now": 0}

    def watch(values: np.ndarray) -> None:
        best["now"] += 1
        loss = loss_and_gradient(model_of(values), *held_out)[0]
        if loss < best["loss"]:
            best.update(loss=loss, values=values.copy(), at=best["now"])
        elif best["now"] - best["at"] >= patience:
            raise StopIteration

    minimize(loss_of, first, jac=True, method="L-BFGS-B", callback=watch, options={"maxiter": iterations})
    return model_of(best["values"]), best["at"]


def loss_and_gradient(
    model: LinearCodeModel, codes: np.ndarray, labels: np.ndarray
) -> tuple[float, dict[str, np.ndarray | float]]:
    """The logistic loss, both classes weighing one half, and its gradient by position, embedding and bias."""
    logits = model.logits(codes)
    weight = np.where(labels, 0.5 / max(labels.sum(), 1), 0.5 / max((~labels).sum(), 1))
    loss = float(weight @ np.logaddexp(0, np.where(labels, -logits, logits)))
    residual = weight * (expit(logits) - labels)
    shape = (len(model.embedding), len(model.position))
    sums = np.zeros(shape[0] * shape[1])
    for images, index in _indices(codes, shape[1]):
        sums += np.bincount(index.ravel(), np.repeat(residual[images], shape[1]), minlength=len(sums))
    sums = sums.reshape(shape)
    slopes = {"position": sums.T @ model.embedding, "embedding": sums @ model.position, "bias": residual.sum()}
    return loss, slopes


def save(path: Path, model: LinearCodeModel, config: dict) -> None:
    """Write the factors and the bias as plain tensors, the configuration in the metadata."""
    tensors = {"position": model.position, "embedding": model.embedding, "bias": np.array([model.bias])}
    save_file(
        {name: np.ascontiguousarray(value) for name, value in tensors.items()},
        path,
        metadata={"config": json.dumps(config, sort_keys=True)},
    )


def load(path: Path) -> LinearCodeModel:
    """Read a classifier; a UserError names a file that holds none."""
    try:
        with safe_open(path, "np") as file:
            position, embedding, bias = (file.get_tensor(name) for name in ("position", "embedding", "bias"))
    except SafetensorError as error:
        raise UserError(f"{path} holds no linear code classifier ({error}). Delete it and make it again.") from error
    return LinearCodeModel(position, embedding, float(bias[0]))
