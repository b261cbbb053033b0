"""Random weights in the layout of a published checkpoint, for a rehearsal: the step over every layout.

A layout is a module beside this one with `imitate(folder, files, name, **settings)`, which writes the files that the
publisher of `name` has, of the true architecture unless the settings make it smaller. Nothing of the file but its shape
is like the published one.
"""

from importlib import import_module
from pathlib import Path

import torch

from palimpsest.run import Output, UserError, sha256, step


def write(folder: Output, *, name: str, layout: str, files: list[str], settings: dict, seed: int = 0) -> dict:
    """Write the files of the checkpoint `name` below a folder.

    files: their paths in it. settings: of the layout's module. Raises UserError for a name it has no architecture of,
    and where it wrote other files.
    """
    folder.mkdir()
    torch.manual_seed(seed)
    try:
        import_module(f"palimpsest.imitations.{layout}").imitate(folder, files, name, **settings)
    except KeyError as error:
        raise UserError(
            f"palimpsest.imitations.{layout} knows no architecture of {error}: add it there, or leave it out"
        ) from error
    written = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    if absent := sorted(set(files) - set(written)):
        raise UserError(f"checkpoints.{name} lists {', '.join(absent)}, which its imitation does not have: {written}")
    return {"name": name, "files": {file: sha256(Path(folder, file)) for file in written}}


if __name__ == "__main__":
    step(write)
