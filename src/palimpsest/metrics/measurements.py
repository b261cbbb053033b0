"""Tidy measurements: what every measuring step writes and every table, figure, number and claim reads.

A row has the columns below. Labels that are no column stand in `variant`, a JSON object of texts with its keys in
order, so that a value may hold anything: `{"prompt": "Van Gogh", "setting": "a=b c"}`.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from palimpsest.errors import UserError
from palimpsest.metrics.intervals import bootstrap, wilson

LABELS = ("family", "model", "set", "concept", "method", "variant", "seed")
COLUMNS = (*LABELS, "metric", "value", "low", "high", "n")


def row(metric: str, value: float, low: float = np.nan, high: float = np.nan, n: int = 0, **labels) -> dict:
    """One measurement: value with its 95 % interval over n units. Labels that are no column go into the variant."""
    return {"metric": metric, "value": float(value), "low": float(low), "high": float(high), "n": int(n), **labels}


def share_of(metric: str, outcomes: np.ndarray, **labels) -> dict:
    """How many of the outcomes (n,) are true, with Wilson's interval; not a number of none."""
    value = outcomes.mean() if len(outcomes) else np.nan
    return row(metric, value, *wilson(int(outcomes.sum()), len(outcomes)), n=len(outcomes), **labels)


def mean_of(metric: str, values: np.ndarray, **labels) -> dict:
    """One measurement: the mean of values (n,), with its bootstrap interval; not a number of none."""
    return row(metric, values.mean() if len(values) else np.nan, *bootstrap(values), n=len(values), **labels)


def write(path: Path, rows: Iterable[dict], **common) -> None:
    """Write rows, each completed by the common labels, as Parquet."""
    complete = []
    for given in rows:
        labels = {**common, **given}
        extra = sorted(labels.keys() - set(COLUMNS))
        variant = json.dumps({key: str(labels.pop(key)) for key in extra}, ensure_ascii=False)
        complete.append({**dict.fromkeys(LABELS, ""), "seed": 0, **labels, "variant": variant})
    frame = pd.DataFrame(complete, columns=list(COLUMNS))
    frame[list(LABELS[:-1])] = frame[list(LABELS[:-1])].astype(str)
    frame.to_parquet(path, index=False)


def read(paths: Iterable[Path]) -> pd.DataFrame:
    """Read measurement files into one table, the keys of `variant` as further columns (text; empty where absent)."""
    return explode(pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True))


def joined(paths: Iterable[Path]) -> pd.DataFrame:
    """Measurement files as one table, as `ordered`; raises UserError for a file of another kind."""
    frames = {path: pd.read_parquet(path) for path in paths}
    for path, frame in frames.items():
        if list(frame.columns) != list(COLUMNS):
            raise UserError(f"{path}: its columns are not those of measurements ({', '.join(COLUMNS)})")
    return ordered(pd.concat(frames.values())) if frames else pd.DataFrame(columns=list(COLUMNS))


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Measurements sorted by their labels; raises UserError where two share them."""
    keys = [*LABELS, "metric"]
    doubled = table[table.duplicated(keys, keep=False)]
    if len(doubled):
        first = ", ".join(f"{key}={doubled.iloc[0][key]}" for key in keys if doubled.iloc[0][key] != "")
        raise UserError(f"{len(doubled)} measurements share their labels with another, the first: {first}")
    return table.sort_values(keys, kind="stable", ignore_index=True)


def explode(frame: pd.DataFrame) -> pd.DataFrame:
    """Add one column per key of `variant`."""
    labels = [json.loads(text) for text in frame["variant"]]
    return pd.concat([frame, pd.DataFrame(labels, index=frame.index).fillna("")], axis=1)


def select(table: pd.DataFrame, **labels) -> pd.DataFrame:
    """The rows in which every given label has the given value (compared as text); an absent label selects none."""
    chosen = np.ones(len(table), bool)
    for name, value in labels.items():
        chosen &= (table[name].astype(str) == str(value)).to_numpy() if name in table else False
    return table[chosen]
