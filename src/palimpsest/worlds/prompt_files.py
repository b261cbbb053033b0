"""Prompts that the user brings: a csv as I2P and UnlearnDiffAtk publish them, or captions as COCO does.

Nothing explicit is shipped; what a file holds is read as text alone. A csv has the column `prompt` (COCO lists: or
`caption`) and may have a seed of the noise, `evaluation_seed` (UnlearnDiffAtk, and lists of COCO) or `sd_seed` (I2P).
"""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

from palimpsest.run import UserError

TEXTS = ("prompt", "caption")
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
    try:
        content = path.read_text(encoding="utf-8-sig")  # Excel puts a mark of the byte order before the first column
    except OSError as error:
        raise UserError(f"{what}: its prompts {path} cannot be read ({error.strerror}). Put the file there") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{what}: {path} is no text in UTF-8 (byte {error.start}). Save it as UTF-8 again") from error
    found = captions(content, path, what) if path.suffix == ".json" else rows_of(content, path, what)
    if not found.texts:
        raise UserError(f"{what}: {path} holds no prompt ({found.empty} rows are empty). Give a file with prompts")
    if found.empty:
        print(f"{what}: {found.empty} rows of {path} hold no prompt and are left out")
    return found


def rows_of(content: str, path: Path, what: str) -> Prompts:
    """The prompts of a csv, whose fields may be quoted, and then hold commas and line breaks."""
    try:
        reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
        columns = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        rows = list(reader)
    except csv.Error as error:
        raise UserError(f"{what}: {path} is no readable csv ({error}; line {reader.line_num}). Correct it") from error
    text = next((name for name in TEXTS if name in columns), None)
    if text is None:
        raise UserError(
            f"{what}: {path} has no column {' or '.join(TEXTS)}; it has {', '.join(columns) or 'none'}. Rename the "
            "column of the prompts"
        )
    if broken := [number for number, row in enumerate(rows, start=1) if None in row or None in row.values()]:
        raise UserError(
            f"{what}: row {broken[0]} of {path} has not the {len(columns)} fields of the first line: put a prompt with "
            "commas into quotes"
        )
    kept = [row for row in rows if row[text].strip()]
    seed = next((name for name in SEEDS if name in columns), None)
    try:
        seeds = [int(float(row[seed])) for row in kept] if seed else None
    except ValueError as error:
        raise UserError(f"{what}: the column {seed} of {path} holds what is no number ({error}). Correct it") from error
    return Prompts([" ".join(row[text].split()) for row in kept], seeds, len(rows) - len(kept))


def captions(content: str, path: Path, what: str) -> Prompts:
    """The captions of COCO's annotations: the first of each picture, in the order of the pictures' numbers."""
    try:
        rows = json.loads(content)["annotations"]
        texts: dict[int, str] = {}
        for row in sorted(rows, key=lambda row: (row["image_id"], row["id"])):
            texts.setdefault(row["image_id"], " ".join(row["caption"].split()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{what}: {path} holds no captions as COCO publishes them: annotations with image_id, id and caption "
            f"({type(error).__name__}: {error}). Give captions_val2014.json, or a csv with the column prompt"
        ) from error
    kept = [text for text in texts.values() if text]
    return Prompts(kept, None, len(texts) - len(kept))
