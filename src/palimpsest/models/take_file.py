"""A published network in a single file, taken into the run once its hash was compared: its judge opens the copy."""

import shutil

from palimpsest.models.published import check_hash
from palimpsest.run import Input, Output, step


def take(
    file: Input, network: Output, *, name: str, sha256: str | None = None, source: str = "", revision: str = ""
) -> dict:
    """Copy the file if it has the hash; its record, beside the copy, says so.

    sha256: what the file has to hash to; source and revision: where it was published, for the record.
    """
    found = check_hash(file, sha256, name)
    shutil.copyfile(file, network)
    return {"sha256": found}


if __name__ == "__main__":
    step(take)
