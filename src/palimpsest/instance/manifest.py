"""The targets' manifest: which row is which target."""

from pathlib import Path

import numpy as np
import pandas as pd

from palimpsest.run import UserError


def position_of(manifest: pd.DataFrame, name: str, place: Path) -> int:
    """The row of a target; raises UserError for an unknown one."""
    rows = np.flatnonzero(manifest["target"] == name)
    if len(rows) != 1:
        raise UserError(f"{place} has no target {name!r}. There are: {', '.join(manifest['target'])}.")
    return int(rows[0])
