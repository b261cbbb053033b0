"""Files that others published: compared with a hash before anything reads them, and read without running their code."""

import pickle
import re
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


class Inert:
    """Stands in for an object beside the weights: made of anything, it keeps nothing and does nothing."""

    def __init__(self, *arguments):
        pass

    def __setstate__(self, state):
        pass


class PlainDict:
    """Stands in for a kind of dict: torch puts items into plain ones alone."""

    def __new__(cls, *arguments):
        return {}


# What Lightning puts beside the weights: its callbacks (1.x keys their states by class), scores, paths and settings.
# Nobody reads those here, so not even numpy's or OmegaConf's own code handles what the file says of them.
HARMLESS = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    *("numpy.dtype", "numpy.ndarray"),
    *("numpy._core.multiarray.scalar", "numpy._core.multiarray._reconstruct"),
    *("numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct"),  # as numpy 1 called them
    *("pathlib.PosixPath", "pathlib.WindowsPath"),
    *("pathlib._local.PosixPath", "pathlib._local.WindowsPath"),  # as Python 3.13 calls them
    "argparse.Namespace",
    *("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "omegaconf.nodes.AnyNode"),
    *("omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata"),
    *("typing.Any", "builtins.dict", "builtins.list", "builtins.int"),  # the types that OmegaConf's metadata name
)
STAND_INS = [(type(name.rpartition(".")[2], (Inert,), {}), name) for name in HARMLESS]
STAND_INS += [(PlainDict, "collections.defaultdict")]


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


def read_inert(path: Path, key: str) -> object:
    """The content of a file in torch's own format, tensors mapped from it where its format allows; no code runs.

    Objects of the classes in HARMLESS are replaced by inert ones. key: under which its weights are, for the message.
    Raises UserError for a file that asks for any other class, and for a damaged one.
    """
    try:
        with torch.serialization.safe_globals(STAND_INS):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except DAMAGE as error:
        asked = re.search(r"(?:GLOBAL|global|class) `?([\w.]+)", str(error))
        if asked and isinstance(error, pickle.UnpicklingError):
            raise UserError(
                f"{path} asks for {asked[1]} to be loaded or called when it is opened. Weights need no such thing: the "
                "file was refused and nothing of it ran. If it is yours, strip it where it was written: "
                f'`torch.save({{"{key}": checkpoint["{key}"]}}, ...)`; if not, fetch it from its publisher and '
                "compare its sha256."
            ) from error
        raise _no_checkpoint(path, error) from error
    return content


def _no_checkpoint(path: Path, error: Exception) -> UserError:
    reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
    return UserError(f"{path} is no readable checkpoint ({reason}). It may be cut short: delete it and fetch it again.")
