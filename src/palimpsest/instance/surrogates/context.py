"""What every kind of surrogate may see."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd


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
