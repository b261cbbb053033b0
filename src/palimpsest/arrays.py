"""What steps read, checked at the door: is it there, of the right kind, shape and number, before work begins.

Every error is a UserError of one line: the file, what was found, what is expected, what to do.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from palimpsest.run import UserError

Shape = tuple[int | None, ...]  # None: whatever it is, but not nothing


def read_array(path: Path, dtypes: tuple[type, ...], shape: Shape, what: str, remedy: str) -> np.ndarray:
    """Memory-map a .npy file of one of the dtypes and of a shape; what: the name of its contents, "codes (n, h, w)"."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path}: not a readable .npy file ({error}). {remedy}") from error
    wanted = f"{what} must be {' or '.join(kind.__name__ for kind in dtypes)} {shown(shape)}"
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: {wanted}, this is an archive of arrays (.npz). {remedy}")
    fits = array.ndim == len(shape) and all(
        side > 0 if asked is None else side == asked for side, asked in zip(array.shape, shape, strict=True)
    )
    if array.dtype.type not in dtypes or not fits:
        raise UserError(f"{path}: {wanted}, this is {array.dtype} {array.shape}. {remedy}")
    return array


def shown(shape: Shape) -> str:
    """A shape in words: sides that may be anything as `any`."""
    return f"({', '.join('any' if side is None else str(side) for side in shape)})"


def read_pictures(path: Path, count: int | None = None, size: tuple[int, int] | None = None) -> np.ndarray:
    """Memory-map pictures (n, H, W, 3) uint8, one at least; count and size (H, W): those they have to have."""
    remedy = "Give the pictures that palimpsest.worlds.make writes, of the same set; floats are no pictures here."
    return read_array(path, (np.uint8,), (count, *(size or (None, None)), 3), "pictures (n, H, W, 3)", remedy)


def read_masks(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Memory-map the concept's pixels (n, H, W) bool of a set's pictures."""
    return read_array(path, (np.bool_,), shape, "masks (n, H, W)", "Give the masks of the same set: they mark pixels.")


def read_table(path: Path, columns: tuple[str, ...] = (), count: int | None = None) -> pd.DataFrame:
    """A Parquet table that has at least these columns, and `count` rows where that is given."""
    try:
        table = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise UserError(
            f"{path}: not a readable Parquet table ({error}). Delete it and run the step that makes it."
        ) from error
    if missing := [name for name in columns if name not in table]:
        raise UserError(
            f"{path}: the table has no column {', '.join(missing)}; it has {', '.join(map(str, table))}. "
            "Give the table that the step before this one writes."
        )
    if count is not None and len(table) != count:
        raise UserError(
            f"{path}: the table has {len(table)} rows, expected {count}, one each of the set's pictures or codes. "
            "Give the table of the same set, or make the set again."
        )
    return table
