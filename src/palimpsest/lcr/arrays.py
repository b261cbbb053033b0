"""Reading codes, masks and what was counted of them: of the right form, of one codebook, of one model.

Shapes: codes are unsigned (n, h, w), one code in [0, codebook_size) per cell; masks are boolean (n, h, w). A codebook
size does not tell two models apart, their records do: the step that encodes leaves the network's hash there, and every
step that reads codes hands it on.
"""

import zipfile
from pathlib import Path
from typing import NamedTuple

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


class Fit(NamedTuple):
    """What the fit sets teach the rules, as `palimpsest.lcr.gather` writes it.

    scores: the table of `palimpsest.lcr.score`. safe_codes (m, h, w): grids without the concept. forget_codes and
    forget_masks (n, h, w): grids that show it, and its cells.
    """

    scores: pd.DataFrame
    safe_codes: np.ndarray
    forget_codes: np.ndarray
    forget_masks: np.ndarray


def save_fit(path: Path, fit: Fit) -> None:
    """Write what the fit sets teach as an .npz file, the scores as one array with a field for each column."""
    table = fit.scores[list(SCORED)]
    texts = {name: f"U{table[name].str.len().max()}" for name in ("score", "contrast")}
    scores = np.asarray(table.to_records(index=False, column_dtypes=texts))
    np.savez(path, **fit._replace(scores=scores)._asdict())


def load_fit(path: Path, codebook_size: int, grid: tuple[int, int]) -> Fit:
    """What the fit sets teach of this codebook, for pictures of grid (h, w) codes; UserError where it is of others."""
    remedy = "Run palimpsest.lcr.gather again, on codes of this model."
    try:
        with np.load(path, allow_pickle=False) as file:
            fit = Fit(**{name: file[name] for name in Fit._fields})
        fit = fit._replace(scores=pd.DataFrame(fit.scores))
        found = (int(fit.scores["code"].max()) + 1, fit.safe_codes.shape[1:])
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not what the fit sets teach, an .npz file ({error}). {remedy}") from error
    if found != (codebook_size, grid):
        raise UserError(
            f"{path}: expected scores of {codebook_size} codes and grids of {grid}, found {found[0]} and {found[1]}. "
            f"{remedy}"
        )
    return fit


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
