"""What every kind of surrogate may see, and what none may give."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from palimpsest.run import UserError


@dataclass(frozen=True)
class Context:
    """targets (n, h, w, 3) uint8 and their manifest; data: all training pictures; neighbours (n, k): rows of the data.

    network: the file of the pretrained model's weights. seed: of whatever is drawn.
    """

    targets: np.ndarray
    manifest: pd.DataFrame
    data: np.ndarray
    neighbours: np.ndarray
    network: Path
    seed: int


def check(made: np.ndarray, targets: np.ndarray, names: list[str], kind: str) -> None:
    """Raise UserError for surrogates of another number, size or range, and for one that is its target."""
    if made.shape != targets.shape or made.dtype != np.uint8:
        raise UserError(
            f"surrogate {kind}: {made.dtype} {made.shape} for targets {targets.shape}. "
            "Give one picture per target, of its size, as uint8 in 0 to 255."
        )
    same = [name for name, one, other in zip(names, made, targets, strict=True) if (one == other).all()]
    if same:
        raise UserError(f"surrogate {kind}: it equals the target for {', '.join(same)}, and so cannot forget it")
