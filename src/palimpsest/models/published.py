"""Files that others published: compared with a hash before anything reads them, and read without running their code."""

import pickle
import struct
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from palimpsest import run
from palimpsest.run import UserError
from palimpsest.sources import hashes

# What torch raises of files in its own formats that are damaged, wherever in them it stumbles.
DAMAGE = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error, RuntimeError, EOFError, ValueError, LookupError),
    *(AttributeError, TypeError, AssertionError, OverflowError, MemoryError),
)


def check_hash(path: Path, sha256: str | None, name: str) -> str:
    """The sha256 of a file; raises UserError where it is not the expected one, and where none is expected.

    sha256: "random" for what this run wrote itself, for a rehearsal: there is nothing to compare it with. name: of the
    row of `checkpoints` that the message points to.
    """
    if sha256 == "random":
        return run.sha256(path)
    return hashes.check_hash(path, sha256, f"checkpoints.{name}")


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict: tensors by name, from .safetensors or from torch's own format, of which no code runs.

    Raises UserError for a file that is damaged, asks for code, or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, *DAMAGE) as error:
        reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        raise UserError(
            f"{path} is no readable file of weights ({reason}). Delete it and fetch it from its publisher again."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} is no state dict (tensors by name). Give the file of weights that is published.")
    return state
