"""Unpack the pictures of archives, or of a data set's Parquet shards, into one folder, without trusting them.

A zip or tar archive keeps its members' places; the rows of Parquet shards are numbered through all of them. What is no
picture by its name is left out. No code of a file runs, nothing is written outside the folder, and nothing whose size
was not checked before.
"""

import lzma
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import count
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pyarrow
import pyarrow.parquet
from PIL import Image, UnidentifiedImageError

from palimpsest.options import Positive
from palimpsest.run import Input, Output, UserError, step
from palimpsest.worlds.formats import FORMATS

# Pictures are compressed already: an archive of them is hardly smaller than they are.
LARGEST_RATIO = 100
LONGEST_NAME, LONGEST_PATH = 255, 2048
CHUNK = 1 << 20
DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, pyarrow.ArrowException),
    *(EOFError, OSError, RuntimeError, NotImplementedError, UnicodeDecodeError),
)


@dataclass(frozen=True)
class Member:
    """A plain file of an archive, and what opens it."""

    name: str
    size: int
    open: Callable[[], BinaryIO]


def unpack(
    archives: list[Input],
    folder: Output,
    *,
    column: str = "image",
    limit: Positive | None = None,
    unpacked_size: Positive | None = None,
) -> dict:
    """Unpack the pictures of zip, tar or tar.gz archives, or of Parquet shards, in the given order.

    column: of the shards; its values are pictures as bytes, or {bytes, path}. limit: the first so many pictures only.
    unpacked_size: the most bytes they may have together; otherwise a hundred times the archives' own.
    Raises UserError, and leaves nothing, for a member that would land elsewhere, is no plain file, has the name of
    another or is too large, for a damaged archive, and for archives without a picture.
    """
    Image.init()  # so that every extension is registered
    most = unpacked_size or LARGEST_RATIO * sum(archive.stat().st_size for archive in archives)
    folder.mkdir()
    names, used, left_out, rows = Names(), 0, 0, count()
    for archive in archives:
        try:
            for member in members(archive, column, rows, most):
                place = names.add(member.name, archive)
                if not is_picture(place):
                    left_out += 1
                    continue
                if limit is not None and len(names.pictures) >= limit:
                    break
                used += member.size
                if used > most:
                    raise UserError(
                        f"{archive} holds more than {most:,} bytes of pictures: it may be a decompression bomb. If it "
                        "is meant to be as large, write unpacked_size (bytes) into its row."
                    )
                names.pictures.append(place)
                write(member, folder / place, archive)
        except DAMAGE as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of our disk, not of the archive
            reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
            raise UserError(f"{archive} is damaged ({reason}). Delete it and fetch it again.") from error
    if not names.pictures:
        raise UserError(f"{', '.join(map(str, archives))}: no picture is in there. Give the archives of the pictures.")
    return {"pictures": len(names.pictures), "bytes": used, "left_out": left_out}


def members(archive: Path, column: str, rows: Iterator[int], most: int) -> Iterator[Member]:
    """The plain files of an archive, whatever its extension; raises UserError for what is none, or holds other things.

    rows: numbers for the rows of a shard. most: bytes that a shard may have unpacked.
    """
    with archive.open("rb") as file:
        magic = file.read(4)
    if magic == b"PAR1":
        return of_parquet(archive, column, rows, most)
    if zipfile.is_zipfile(archive):
        return of_zip(archive)
    if tarfile.is_tarfile(archive):
        return of_tar(archive)
    raise UserError(f"{archive} is no zip, tar or Parquet file, or was cut short. Delete it and fetch it again.")


def of_zip(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where it was packed on another system than Unix
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _no_plain_file(archive, entry.filename)
            # The name as it stands in the file: zipfile's own is cut at a NUL.
            name = getattr(entry, "orig_filename", entry.filename)
            if not entry.is_dir():
                yield Member(name, entry.file_size, lambda entry=entry: opened.open(entry))


def of_tar(archive: Path) -> Iterator[Member]:
    with tarfile.open(archive) as opened:
        for entry in opened:
            if not (entry.isfile() or entry.isdir()):
                raise _no_plain_file(archive, entry.name)
            if entry.size < 0:
                raise tarfile.ReadError(f"{entry.name!r} states a size below zero")
            if entry.isfile():
                yield Member(entry.name, entry.size, lambda entry=entry: opened.extractfile(entry))


def of_parquet(archive: Path, column: str, rows: Iterator[int], most: int) -> Iterator[Member]:
    with pyarrow.parquet.ParquetFile(archive) as opened:
        if column not in opened.schema_arrow.names:
            raise UserError(
                f"{archive} has no column {column!r}, but {', '.join(opened.schema_arrow.names)}: correct `column` in "
                "the row."
            )
        groups = range(opened.metadata.num_row_groups)
        if (unpacked := sum(opened.metadata.row_group(number).total_byte_size for number in groups)) > most:
            raise UserError(
                f"{archive} states {unpacked:,} bytes unpacked, more than {most:,}: it may be a decompression bomb. If "
                "it is meant to be as large, write unpacked_size (bytes) into its row."
            )
        # One row at a time: a picture that stands there once may be that of many rows.
        for batch in opened.iter_batches(1, columns=[column]):
            value, number = batch.column(0)[0].as_py(), next(rows)
            content = value.get("bytes") if isinstance(value, dict) else value
            if not isinstance(content, bytes):
                raise UserError(
                    f"{archive}: row {number} of {column!r} holds no picture's bytes. Give the column of the pictures "
                    "as `column` in the row."
                )
            yield Member(f"{number:06d}{suffix_of(content)}", len(content), lambda content=content: BytesIO(content))


def suffix_of(content: bytes) -> str:
    """The extension of a picture's format; that of what is no picture is left to its reader to refuse."""
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            kind = image.format
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return ".png"
    return {"JPEG": ".jpg", "TIFF": ".tif"}.get(kind, f".{kind.lower()}")


class Names:
    """The places taken so far, as a file system that ignores case and forms of letters sees them."""

    def __init__(self):
        self.files, self.folders, self.pictures = set(), set(), []

    def add(self, name: str, archive: Path) -> PurePosixPath:
        """A member's place; raises UserError where it lies outside, or is taken."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        outside = name.startswith("/") or ".." in parts or not parts
        too_long = max(map(_bytes, parts), default=0) > LONGEST_NAME or _bytes(name) > LONGEST_PATH
        if outside or too_long or re.search(r"\\|\x00|^[A-Za-z]:", name):
            raise UserError(
                f"{archive} has a member {name!r}, which would land outside its folder or has no proper name. Nothing "
                "was unpacked: get the archive from its publisher."
            )
        key = tuple(unicodedata.normalize("NFC", part).casefold() for part in parts)
        above = {key[:depth] for depth in range(1, len(key))}
        if key in self.files or key in self.folders or above & self.files:
            raise UserError(
                f"{archive} has a member {name!r}, whose name is that of another one. Nothing was unpacked: give "
                "archives whose names differ."
            )
        self.files.add(key)
        self.folders |= above
        return PurePosixPath(*parts)


def is_picture(place: PurePosixPath) -> bool:
    """Whether a name is that of a picture; names that begin with a dot are other systems' notes."""
    return Image.EXTENSION.get(place.suffix.lower()) in FORMATS and not any(
        part.startswith(".") for part in place.parts
    )


def write(member: Member, path: Path, archive: Path) -> None:
    """Copy a member; raises UserError if there is more or less of it than the archive states."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with member.open() as source, path.open("xb") as file:
        while chunk := source.read(min(CHUNK, member.size - written + 1)):
            file.write(chunk)
            written += len(chunk)
            if written > member.size:
                break
    if written != member.size:
        raise UserError(f"{archive} is damaged: {member.name!r} has not the size it states. Fetch it again.")


def _bytes(part: str) -> int:
    return len(part.encode("utf-8", "surrogateescape"))


def _no_plain_file(archive: Path, name: str) -> UserError:
    return UserError(
        f"{archive} has a member {name!r} that is a link or a device. Nothing was unpacked: get the archive from its "
        "publisher."
    )


if __name__ == "__main__":
    step(unpack)
