"""A published text-to-image model, used where it lies once every file of its weights was compared with a hash.

The Hub's folder of a pipeline: model_index.json, and a folder per part with its weights as safetensors. It is large and
is not copied: the file written here says where it lies, and is what later steps are given.
"""

import json

from palimpsest.models.published import check_hash
from palimpsest.run import Input, Output, UserError, step


def check(index: Input, network: Output, *, name: str, sha256: dict, source: str = "", revision: str = "") -> dict:
    """index: the pipeline's model_index.json. sha256: of each file, by its path in the folder; weights need one.

    network: JSON with the `folder`. source and revision: the publisher's, for the record.
    Raises UserError for a file that is missing, is another or has no hash. Files of other variants
    (`model.fp16.safetensors`) are not loaded and need none.
    """
    folder = index.parent
    parts = [
        part
        for part, kind in json.loads(index.read_text(encoding="utf-8")).items()
        if isinstance(kind, list) and kind[0]
    ]
    files = [path for part in parts for path in sorted((folder / part).glob("*.safetensors"))]
    present = {str(path.relative_to(folder)): path for path in files if path.suffixes == [".safetensors"]}
    if missing := sorted(file for file in sha256 if not (folder / file).exists()):
        raise UserError(f"{folder} lacks {', '.join(missing)}: fetch the whole repository {source or name} again")
    if not present:
        raise UserError(f"{folder} has no weights as safetensors in {', '.join(parts)}: it is no folder of a pipeline")
    hashes = {place: check_hash(path, sha256.get(place), f"{name} ({place})") for place, path in present.items()}
    network.write_text(json.dumps({"folder": str(folder)}) + "\n", encoding="utf-8")
    return {"sha256": hashes}


if __name__ == "__main__":
    step(check)
