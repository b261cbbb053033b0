"""Prompts that the user brings: a csv as I2P and UnlearnDiffAtk publish them, or captions as COCO does.

Nothing explicit is shipped; what a file holds is read as text alone. A csv has the column `prompt` (COCO lists: or
`caption`) and may have a seed of the noise, `evaluation_seed` (UnlearnDiffAtk, and lists of COCO) or `sd_seed` (I2P).
Where captions are of pictures that the user has too, it names their files: `file`.
"""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

from palimpsest.run import UserError

TEXTS = ("prompt", "caption")
FILES = ("file", "file_name", "path")  # of the picture that a caption is of
SEEDS = ("evaluation_seed", "sd_seed")


@dataclass(frozen=True)
class Prompts:
    """texts: in the file's order; seeds: of each, or None where the file has none; empty: rows that hold no prompt."""

    texts: list[str]
    seeds: list[int] | None
    empty: int


def read_prompts(path: Path, what: str) -> Prompts:
    """The prompts of a .csv, or the captions of a .json of COCO's; what: whose prompts they are, for messages.

    Raises UserError for a file that is missing or no text, lacks the column, has a broken row, or holds no prompt.
    """
    content = text_of(path, what)
    found = captions(content, path, what) if path.suffix == ".json" else rows_of(content, path, what)
    if not found.texts:
        raise UserError(f"{what}: {path} holds no prompt ({found.empty} rows are empty). Give a file with prompts")
    if found.empty:
        print(f"{what}: {found.empty} rows of {path} hold no prompt and are left out")
    return found


def captions_of_pictures(path: Path, what: str) -> dict[str, str]:
    """Captions by the file of their picture, the first of each: of a csv with a column of files, or COCO's .json.

    Raises UserError for a file that is missing or no text, lacks a column, has a broken row, or holds no caption.
    """
    content = text_of(path, what)
    if path.suffix == ".json":
        found = coco_captions(content, path, what)
    else:
        columns, rows = table_of(content, path, what)
        file, text = column_of(FILES, columns, path, what), column_of(TEXTS, columns, path, what)
        found = [(row[file].strip(), row[text]) for row in rows]
    known: dict[str, str] = {}
    for name, caption in found:
        if name and caption.strip():
            known.setdefault(name, " ".join(caption.split()))
    if not known:
        raise UserError(f"{what}: {path} holds no caption of a picture. Give a file with captions")
    return known


def text_of(path: Path, what: str) -> str:
    """What a file holds as text. Raises UserError for one that is missing or no text."""
    try:
        return path.read_text(encoding="utf-8-sig")  # Excel puts a mark of the byte order before the first column
    except OSError as error:
        raise UserError(f"{what}: its prompts {path} cannot be read ({error.strerror}). Put the file there") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{what}: {path} is no text in UTF-8 (byte {error.start}). Save it as UTF-8 again") from error


def table_of(content: str, path: Path, what: str) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a csv, whose fields may be quoted, and then hold commas and line breaks."""
    try:
        reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
        columns = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        rows = list(reader)
    except csv.Error as error:
        raise UserError(f"{what}: {path} is no readable csv ({error}; line {reader.line_num}). Correct it") from error
    if broken := [number for number, row in enumerate(rows, start=1) if None in row or None in row.values()]:
        raise UserError(
            f"{what}: row {broken[0]} of {path} has not the {len(columns)} fields of the first line: put a prompt with "
            "commas into quotes"
        )
    return columns, rows


def column_of(names: tuple[str, ...], columns: list[str], path: Path, what: str) -> str:
    """The first of some columns that a csv has. Raises UserError for one that has none of them."""
    found = next((name for name in names if name in columns), None)
    if found is None:
        raise UserError(
            f"{what}: {path} has no column {' or '.join(names)}; it has {', '.join(columns) or 'none'}. Rename the "
            f"column of the {'prompts' if names == TEXTS else 'files'}"
        )
    return found


def rows_of(content: str, path: Path, what: str) -> Prompts:
    """The prompts of a csv."""
    columns, rows = table_of(content, path, what)
    text = column_of(TEXTS, columns, path, what)
    kept = [row for row in rows if row[text].strip()]
    seed = next((name for name in SEEDS if name in columns), None)
    try:
        seeds = [int(float(row[seed])) for row in kept] if seed else None
    except ValueError as error:
        raise UserError(f"{what}: the column {seed} of {path} holds what is no number ({error}). Correct it") from error
    return Prompts([" ".join(row[text].split()) for row in kept], seeds, len(rows) - len(kept))


def captions(content: str, path: Path, what: str) -> Prompts:
    """The captions of COCO's annotations: the first of each picture, in the order of the pictures' numbers."""
    texts: dict[int, str] = {}
    for number, caption in numbered(content, path, what):
        texts.setdefault(number, caption)
    kept = [text for text in texts.values() if text]
    return Prompts(kept, None, len(texts) - len(kept))


def numbered(content: str, path: Path, what: str) -> list[tuple[int, str]]:
    """The captions of COCO's annotations with the numbers of their pictures, in the order of both numbers."""
    try:
        rows = json.loads(content)["annotations"]
        rows = sorted(rows, key=lambda row: (row["image_id"], row["id"]))
        return [(row["image_id"], " ".join(row["caption"].split())) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{what}: {path} holds no captions as COCO publishes them: annotations with image_id, id and caption "
            f"({type(error).__name__}: {error}). Give captions_val2014.json, or a csv with the column prompt"
        ) from error


def coco_captions(content: str, path: Path, what: str) -> list[tuple[str, str]]:
    """The captions of COCO's annotations with the files of their pictures."""
    texts = numbered(content, path, what)
    try:
        files = {row["id"]: row["file_name"] for row in json.loads(content)["images"]}
        return [(files[number], text) for number, text in texts]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{what}: {path} does not name the file of every picture as COCO does: images with id and file_name "
            f"({type(error).__name__}: {error}). Give captions_val2017.json, or a csv with the columns file and caption"
        ) from error
