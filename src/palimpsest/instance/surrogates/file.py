"""Pictures of the user's own, from any editor: <folder>/<target>.png (or .jpg, .jpeg, .webp)."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from palimpsest.instance.surrogates.context import Context
from palimpsest.run import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def make(context: Context, *, folder: str) -> np.ndarray:
    return np.stack([read(Path(folder), name, context.targets.shape[1:]) for name in context.manifest["target"]])


def read(folder: Path, name: str, shape: tuple[int, int, int]) -> np.ndarray:
    """The one picture of a target; raises UserError where there is none, or of another size."""
    files = [folder / f"{name}{suffix}" for suffix in SUFFIXES if (folder / f"{name}{suffix}").exists()]
    if len(files) != 1:
        raise UserError(f"{folder} has {len(files)} pictures named {name} ({', '.join(SUFFIXES)}); give exactly one")
    try:
        picture = np.asarray(Image.open(files[0]).convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"{files[0]} is no readable picture ({error})") from error
    if picture.shape != shape:
        raise UserError(f"{files[0]} is {picture.shape[1]} x {picture.shape[0]} pixels; give {shape[1]} x {shape[0]}")
    return picture
