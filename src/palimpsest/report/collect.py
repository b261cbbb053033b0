"""Join every measurement of a family into one table, and refuse to join what does not belong together."""

from pathlib import Path

from palimpsest.metrics.measurements import joined
from palimpsest.report.records import made_here, record_of, refuse_mixed_locks
from palimpsest.run import PACKAGE, Input, Output, UserError, sha256, step


def collect(measurements: list[Input], table: Output, *, allow_mixed: bool = False) -> dict:
    """Write all measurements of a family as one sorted Parquet table.

    Every file must have been made under one lock of the environment and by the source files as they are now, but for
    what tunings were released with; `allow_mixed` lifts both conditions.
    """
    records = {} if allow_mixed else {path: record_of(path) for path in made_here(measurements)}
    locks = refuse_mixed_locks({path: [record["lock"]] for path, record in records.items()})
    refuse_stale(records)
    frame = joined(measurements)
    frame.to_parquet(table, index=False)
    return {"files": len(measurements), "rows": len(frame), "locks": locks}


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
