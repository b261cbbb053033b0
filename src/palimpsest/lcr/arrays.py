"""Reading codes, masks and what was counted of them: of the right form, of one codebook, of one model.

Shapes: codes are unsigned (n, h, w), one code in [0, codebook_size) per cell; masks are boolean (n, h, w). A codebook
size does not tell two models apart, their records do: the step that encodes leaves the network's hash there, and every
step that reads codes hands it on.
"""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from palimpsest.arrays import Shape, read_array, read_table
from palimpsest.lcr.codes import chunks
from palimpsest.run import UserError, read_record, record_path, sha256

COUNTED = ("all", "inside", "outside", "images", "images_inside", "images_outside")
SCORED = ("score", "contrast", "code", "live", "forget", "retain", "value", "z", "q", "rank")


def open_codes(path: Path, shape: Shape = (None, None, None)) -> np.ndarray:
    """Memory-map codes (n, h, w) of dtype uint16 or uint32, of whatever codebook, one picture's at least."""
    remedy = "Encode the images again with palimpsest.lcr.encode."
    return read_array(path, (np.uint16, np.uint32), shape, "codes", remedy)


def load_codes(path: Path, codebook_size: int, shape: Shape = (None, None, None)) -> np.ndarray:
    """Memory-map codes (n, h, w); UserError when they cannot be codes of this codebook."""
    codes = open_codes(path, shape)
    largest = max(int(part.max()) for part in chunks(codes.reshape(-1)))
    if largest >= codebook_size:
        raise UserError(
            f"{path}: the largest code is {largest}, but the codebook has {codebook_size} entries (0 to "
            f"{codebook_size - 1}). The codes come from another model or the file is damaged: encode the images again."
        )
    return codes


def load_masks(path: Path, shape: tuple[int, int, int], filled: bool = False) -> np.ndarray:
    """Memory-map boolean masks of the shape of the codes they belong to; UserError when they are not.

    `filled` asks for at least one cell in a mask: nothing can be learned of a concept that was found nowhere.
    """
    remedy = "Make the masks of the same codes again with palimpsest.lcr.masks: they mark cells, not pixels."
    masks = read_array(path, (np.bool_,), shape, "masks", remedy)
    if filled and not masks.any():
        raise UserError(
            f"{path}: no mask has a cell, so the concept was found in no image. Lower the detector's minimum score in "
            "the preset, or check the images of the set."
        )
    return masks


def load_counts(path: Path, codebook_size: int) -> pd.DataFrame:
    """The counts of a set, a row for each code; UserError unless they can be those of this codebook."""
    table = read_table(path, ("code", *COUNTED))
    values = table[list(COUNTED)].to_numpy()
    sound = (
        np.array_equal(table["code"], np.arange(codebook_size))
        and np.issubdtype(values.dtype, np.integer)
        and (values >= 0).all()
        and (table["inside"] + table["outside"] == table["all"]).all()
    )
    if not sound:
        raise UserError(
            f"{path}: expected numbers of cells of the codes 0 to {codebook_size - 1}, inside and outside adding up to "
            f"all, found {len(table)} rows that are none. Run palimpsest.lcr.count again, on codes of this model."
        )
    return table


def load_scores(path: Path, codebook_size: int) -> pd.DataFrame:
    """The scores of codes; UserError unless each score and contrast ranks the codes of this codebook, once each."""
    table = read_table(path, SCORED)
    for (score, contrast), part in table.groupby(["score", "contrast"]):
        if not np.array_equal(np.sort(part["code"]), np.arange(codebook_size)):
            raise UserError(
                f"{path}: {score}/{contrast} ranks {len(part)} codes up to {part['code'].max()}, expected each of 0 to "
                f"{codebook_size - 1} once. Run palimpsest.lcr.score again, on codes of this model."
            )
    return table


def load_pairs(path: Path, codebook_size: int) -> np.lib.npyio.NpzFile:
    """Tables (K, K) of neighbouring codes, read when asked for; their heads are checked now."""
    remedy = "Run palimpsest.lcr.cooccurrence again, on codes of this model."
    try:
        with zipfile.ZipFile(path) as archive:
            heads = {name.removesuffix(".npy"): head_of(archive, name) for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError) as error:
        raise UserError(f"{path}: not a readable .npz file ({error}). {remedy}") from error
    for name in ("horizontal", "vertical"):
        wanted = ((codebook_size, codebook_size), np.dtype(np.int32))
        if heads.get(name) != wanted:
            found = f"{heads[name][1]} {heads[name][0]}" if name in heads else "no such table"
            raise UserError(f"{path}: expected a table {name!r} of int32 {wanted[0]}, found {found}. {remedy}")
    return np.load(path, allow_pickle=False)


def head_of(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of an array in a .npz file; a table of 8,192 codes takes 268 MB, its head a few bytes."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return shape, dtype


def network_of(path: Path) -> str | None:
    """The hash of the network whose codes a file holds or rests on; None of a file that no step made."""
    return read_record(path)["result"].get("network") if record_path(path).exists() else None


def same_network(*paths: Path, network: Path | None = None) -> dict[str, str]:
    """Raise a UserError unless all files are of one VQ-GAN (`network`, where it is given), by their records.

    Returns what a step's own record says of it: `network`, or nothing where no file says whose it is.
    """
    owners = {path: owner for path in paths if (owner := network_of(path))}
    if network is not None:
        owners = {network: sha256(network)[:16]} | owners
    for path, owner in owners.items():
        first = next(iter(owners))
        if owner != owners[first]:
            raise UserError(
                f"{path}: its record says that it is of the network {owner}, {first} is of {owners[first]}: codes of "
                "two models mean different things. Encode the sets with one network, and make what hangs on them again."
            )
    return {"network": next(iter(owners.values()))} if owners else {}
