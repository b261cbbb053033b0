"""What the family's figures share: colours by model, marks by rule."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from palimpsest.report.style import PALETTE

MARKERS = "osD^vP"


def colour_of(model: str, models: list[str]) -> tuple[float, float, float]:
    """The colour of a model: the same in every figure."""
    return PALETTE[models.index(model) % len(PALETTE)]


def curve(axes: Axes, rows: pd.DataFrame, key: str, **line) -> None:
    """A line over a numeric label, with its interval as a band."""
    rows = rows.assign(**{key: pd.to_numeric(rows[key])}).sort_values(key)
    (drawn,) = axes.plot(rows[key], rows["value"], **line)
    axes.fill_between(rows[key], rows["low"], rows["high"], color=drawn.get_color(), alpha=0.18, linewidth=0)


def whiskers(given) -> np.ndarray:
    """The lengths (2, 1) of an estimate's error bar; none where it has no interval."""
    lengths = np.array([[given.value - given.low], [given.high - given.value]])
    return np.nan_to_num(np.maximum(lengths, 0))
