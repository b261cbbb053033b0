"""Finding the record of the step that wrote a file."""

import json
from pathlib import Path

from palimpsest.run import read_record, record_path


def record_of(path: Path) -> dict:
    """The record beside a file, under its own name or under that of the first output of the same step."""
    if not record_path(path).exists():
        for candidate in sorted(path.parent.glob("*.record.json")):
            record = json.loads(candidate.read_text())
            if any(Path(name).name == path.name for name in record["outputs"].values() if isinstance(name, str)):
                return record
    return read_record(path)
