"""Whether a folder of the user's pictures is still what it was: its files' names, sizes and times as one text."""

import hashlib
import os
from pathlib import Path


def listing(folder: Path) -> str:
    """A hash of the path, size and time of change of every file below a folder; "" where there is no such folder.

    No file is opened. Links to folders are followed once. What cannot be read, and dotted names, change nothing.
    """
    if not folder.is_dir():
        return ""
    lines, seen, left = [], set(), [folder]
    while left:
        place = left.pop()
        if (real := os.path.realpath(place)) in seen:
            continue
        seen.add(real)
        try:
            entries = list(os.scandir(place))
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                is_folder, facts = entry.is_dir(), entry.stat()
            except OSError:  # a link to itself, or to nothing
                continue
            if is_folder:
                left.append(Path(entry.path))
            else:
                lines.append(f"{os.path.relpath(entry.path, folder)}\0{facts.st_size}\0{facts.st_mtime_ns}")
    text = "\n".join(sorted(lines))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
