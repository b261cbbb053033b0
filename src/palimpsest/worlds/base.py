"""What every world yields."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class World:
    """Images (n, h, w, 3) uint8, concept masks (n, h, w) bool, a manifest row each, and what the user must be told."""

    images: np.ndarray
    masks: np.ndarray
    manifest: pd.DataFrame
    report: dict = field(default_factory=dict)
