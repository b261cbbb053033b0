"""A file of others is what its hash says: compared before anything reads it."""

from pathlib import Path

from palimpsest import run
from palimpsest.run import UserError


def check_hash(path: Path, sha256: str | None, entry: str, remedy: str = "Delete it and fetch it again") -> str:
    """The sha256 of a file; raises UserError where it is not the expected one, and where none is expected.

    entry: where the hash stands in the configuration. remedy: what to do about another file.
    """
    found = run.sha256(path)
    if not sha256:
        raise UserError(
            f"{entry} has no sha256. {path} has the sha256 {found}: compare it with the one its publisher states, and "
            "write it into the configuration."
        )
    if found != sha256.lower():
        raise UserError(
            f"{path} has the sha256 {found}, expected {sha256}: it is another file or was cut short. {remedy}, or "
            f"correct the sha256 of {entry} in the configuration."
        )
    return found
