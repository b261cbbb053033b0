"""What the published judges share: opening TorchScript only after its hash was compared, and the range of pictures.

TorchScript is a program: it is opened by its own interpreter, which runs no Python, and only where a hash says that it
is the file meant. The step `take_file` compares it and leaves the hash in its record, beside the copy that is opened.
"""

import json
from pathlib import Path

import torch
from torch import Tensor

from palimpsest.models.published import check_hash
from palimpsest.run import UserError, record_path


def compared_hash(path: Path) -> str | None:
    """The hash that the record beside a file states, or None where it has no record."""
    record = record_path(path)
    return json.loads(record.read_text(encoding="utf-8"))["result"].get("sha256") if record.exists() else None


def open_script(path: Path, sha256: str | None = None) -> torch.jit.ScriptModule:
    """A TorchScript network on the CPU, in evaluation mode, if the file has the hash: the given one, or its record's.

    Raises UserError where the hash differs or is not known, and for a file that is no TorchScript.
    """
    check_hash(path, sha256 or compared_hash(path), path.stem)
    try:
        return torch.jit.load(path, map_location="cpu").eval()
    except RuntimeError as error:
        raise UserError(
            f"{path} is no TorchScript network ({str(error).splitlines()[0][:200]}). Give the published .pt file."
        ) from error


def check_range(images: Tensor) -> None:
    """Raise ValueError for images that are not float (n, 3, h, w) in [-1, 1]; values in [0, 1] cannot be told apart."""
    if not images.is_floating_point() or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images are {images.dtype} {tuple(images.shape)}: give float (n, 3, h, w)")
    low, high = images.aminmax()
    if low < -1.001 or high > 1.001:
        raise ValueError(f"images lie in [{float(low):g}, {float(high):g}]: give them in [-1, 1]")
