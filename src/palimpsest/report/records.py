"""The record of the step that wrote a file, and what the records of several say together."""

import json
from collections.abc import Iterable
from pathlib import Path

from palimpsest.run import UserError, read_record, record_path, sha256


def record_of(path: Path) -> dict:
    """The record beside a file, under its own name or under that of the first output of the same step."""
    if not record_path(path).exists():
        for candidate in sorted(path.parent.glob("*.record.json")):
            record = json.loads(candidate.read_text(encoding="utf-8"))
            if any(Path(name).name == path.name for name in record["outputs"].values() if isinstance(name, str)):
                return record
    return read_record(path)


def made_here(measurements: Iterable[Path]) -> list[Path]:
    """Those measurements that this checkout's steps made: not what a tuning was released with."""
    return [path for path in measurements if not is_released(path)]


def is_released(path: Path) -> bool:
    """Whether a file is a released tuning's, as the record in its folder has it; UserError for one that was changed."""
    record = path.with_name("record.json")
    if not record.exists():
        return False
    made = json.loads(record.read_text(encoding="utf-8"))["methods"].get(path.stem)
    if made is None or made["sha256"] != sha256(path):
        raise UserError(f"{path} is not the file that {record} tells of. Restore both from the repository's history")
    return True


def refuse_mixed_locks(locks: dict[Path, Iterable[str]]) -> list[str]:
    """All files must have been made under one lock of the environment, which is given back (none without files)."""
    by_lock: dict[str, list[Path]] = {}
    for path, names in locks.items():
        for name in names:
            by_lock.setdefault(name, []).append(path)
    if len(by_lock) > 1:
        parts = "; ".join(f"lock {lock}: {len(paths)} files, such as {paths[0]}" for lock, paths in by_lock.items())
        raise UserError(
            f"the measurements were made in different environments ({parts}). Install the present lock and make the "
            "odd ones again (snakemake --forcerun FILE), or give --allow-mixed true to join them all the same."
        )
    return list(by_lock)
