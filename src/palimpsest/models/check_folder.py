"""A published network of transformers in the Hub's folder, used where it lies once its weights were compared.

The file written here says where it lies, and is what its judge is given.
"""

import json

from palimpsest.models.hub_folder import WEIGHTS, compared
from palimpsest.run import Input, Output, UserError, step


def check(config: Input, network: Output, *, name: str, sha256: dict, source: str = "", revision: str = "") -> dict:
    """config: the folder's config.json. sha256: of each file, by its path in the folder; weights need one.

    network: JSON with the `folder`. source and revision: the publisher's, for the record. Raises UserError for a file
    that is missing, is another or has no hash, and for a folder without weights.
    """
    folder = config.parent
    weights = sorted(path.name for path in folder.iterdir() if path.suffix in WEIGHTS)
    if not weights:
        raise UserError(f"{folder} has no file of weights ({', '.join(WEIGHTS)}): fetch {source or name} again")
    hashes = compared(folder, sha256, name, weights, source)
    network.write_text(json.dumps({"folder": str(folder)}) + "\n", encoding="utf-8")
    return {"sha256": hashes}


if __name__ == "__main__":
    step(check)
