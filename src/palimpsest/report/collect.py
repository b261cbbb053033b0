"""Join every measurement of an experiment into one table, and refuse to join what does not belong together."""

from pathlib import Path

import pandas as pd

from palimpsest.metrics.measurements import COLUMNS, LABELS
from palimpsest.report.records import record_of
from palimpsest.run import PACKAGE, Input, Output, UserError, sha256, step


def collect(
    measurements: list[Input], table: Output, csv: Output, *, experiment: str, allow_mixed: bool = False
) -> dict:
    """Write all measurements as one sorted Parquet table and its CSV twin (six significant digits).

    Every file must have been made under one lock of the environment and by the source files as they are now;
    `allow_mixed` lifts both conditions.
    """
    if not allow_mixed:
        records = {path: record_of(path) for path in measurements}
        refuse_mixed_locks(records)
        refuse_stale(records)
    frames = [pd.read_parquet(path) for path in measurements]
    for path, frame in zip(measurements, frames, strict=True):
        if list(frame.columns) != list(COLUMNS):
            raise UserError(f"{path}: its columns are not those of measurements ({', '.join(COLUMNS)})")
    joined = pd.concat(frames, ignore_index=True)
    keys = [*LABELS, "metric"]
    doubled = joined[joined.duplicated(keys, keep=False)]
    if len(doubled):
        first = ", ".join(f"{key}={doubled.iloc[0][key]}" for key in keys if doubled.iloc[0][key] != "")
        raise UserError(f"{len(doubled)} measurements share their labels with another, the first: {first}")
    joined = joined.sort_values(keys, kind="stable", ignore_index=True)
    joined.insert(0, "experiment", experiment)
    joined.to_parquet(table, index=False)
    joined.to_csv(csv, index=False, float_format="%.6g", lineterminator="\n")
    return {"files": len(measurements), "rows": len(joined), "csv_sha256": sha256(csv)}


def refuse_mixed_locks(records: dict[Path, dict]) -> None:
    """All records must name one lock of the environment."""
    by_lock: dict[str, list[Path]] = {}
    for path, record in records.items():
        by_lock.setdefault(record["lock"], []).append(path)
    if len(by_lock) > 1:
        parts = "; ".join(f"lock {lock}: {len(paths)} files, such as {paths[0]}" for lock, paths in by_lock.items())
        raise UserError(
            f"the measurements were made in different environments ({parts}). Install the present lock and make the "
            "odd ones again (snakemake --forcerun FILE), or give --allow-mixed true to join them all the same."
        )


def refuse_stale(records: dict[Path, dict]) -> None:
    """Every record's code must be the code of this checkout."""
    for path, record in records.items():
        for name, fingerprint in record["code"].items():
            source = PACKAGE.parent / name
            if not source.exists() or sha256(source)[:16] != fingerprint:
                raise UserError(
                    f"{path} holds results of another commit ({record['commit']}): {name} has changed since. "
                    f"Make it again: snakemake --forcerun {path} (or delete it), or give --allow-mixed true."
                )


if __name__ == "__main__":
    step(collect)
