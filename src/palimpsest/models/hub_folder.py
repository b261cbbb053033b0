"""Folders as the Hub has them: several files, each compared with its own hash before anything reads one."""

from pathlib import Path

from palimpsest.models.published import check_hash
from palimpsest.run import UserError

WEIGHTS = (".safetensors", ".bin", ".pth", ".ckpt")


def compared(folder: Path, sha256: dict[str, str], name: str, weights: list[str], source: str = "") -> dict[str, str]:
    """The hash of each file of a folder that has one, by its path in it; files of weights need one.

    name: of the row of `checkpoints`. Raises UserError for a file that is missing, is another, or has no hash.
    """
    if missing := sorted(file for file in {*sha256, *weights} if not (folder / file).exists()):
        raise UserError(f"{folder} lacks {', '.join(missing)}: fetch the whole of {source or name} again")
    wanted = {**dict.fromkeys(weights), **sha256}
    return {file: check_hash(folder / file, expected, f"{name} ({file})") for file, expected in wanted.items()}
