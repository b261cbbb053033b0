"""The table of edited models that every job that edits writes, `edits.parquet`; `models.edits` opens its rows.

A row says which base was edited, by which family, method and setting, to forget which target, and where the result is.
Paths are relative to the table, so that results can be moved. Formats:

* `whole`: a network in the layout of its base: the weights' file of a diffusers folder, a VQ-GAN's safetensors, or what
  `check_pipeline` wrote of a pipeline of Stable Diffusion 3
* `delta`: safetensors of the tensors that differ from the base's, under their names, with the base's sha256; of a
  text-to-image model those of its UNet
* `text_encoder`: the same of a text-to-image model's text encoder, whose UNet is the base's
* `steering`: safetensors of a concept's condition, with the base's sha256 and how drawing leads away from it
  (`models.steering`); no weight of the base changes
* `lora`: safetensors of low-rank adapters; names begin with `unet.` or `transformer.` where they are of such a part of
  a pipeline, as diffusers' `load_lora_weights` has them
* `gated`: the same of a text-to-image model, with the base's sha256 and, under `concept`, the token ids of prompts: the
  adapters act on a prompt as much as it resembles these (`models.adapters`)
* `published_unet`, `published_text_encoder`: a state dict of the whole UNet (by diffusers' or by its first authors'
  names; merged adapters too) or text encoder that others published; the rest is the base's
* `codes`: an .npz of edited codes (images, h, w), one array for each setting, under the last part of its name: the
  parts before a `/` say how and of what pictures the codes were made
"""

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd

from palimpsest.run import UserError, sha256

PUBLISHED = ("published_unet", "published_text_encoder")
FORMATS = ("whole", "delta", "text_encoder", "steering", "lora", "gated", *PUBLISHED, "codes")


@dataclass(frozen=True)
class Edit:
    """One edited model, or one that is compared with them (method "pretrained", "oracle" or "random").

    base: the base model's name, base_path: its file; target: what was to be forgotten; setting: its name; format: one
    of FORMATS; path: the edit's file. Both paths are whole here, and relative to the table in its file. failure: why
    the edit ended early, where it did: the file then has its last finite weights.
    """

    base: str
    base_path: Path
    family: str
    method: str
    target: str
    seed: int
    setting: str
    format: str
    path: Path
    sha256: str
    failure: str = ""

    @property
    def checkpoint(self) -> str:
        """The name of a checkpoint that others published, which is its setting; none of what was edited here."""
        return self.setting if self.format in PUBLISHED else ""


def write(table: Path, rows: list[dict], **common) -> None:
    """Write rows, each completed by the common fields, with the sha256 of their files as they are now.

    The temporary names that a step writes its outputs under are not kept.
    """
    names = [field.name for field in fields(Edit)]
    hashes = {path: sha256(path) for path in {row["path"] for row in rows}}
    complete = []
    for row in rows:
        edit = asdict(Edit(**common, **row, sha256=hashes[row["path"]]))
        if edit["format"] not in FORMATS:
            raise ValueError(f"format is {edit['format']!r}: give one of {', '.join(FORMATS)}")
        complete.append({**edit, **{name: relative(edit[name], table) for name in ("base_path", "path")}})
    text = [name for name in names if name != "seed"]
    frame = pd.DataFrame(complete, columns=names).astype({**dict.fromkeys(text, str), "seed": int})
    frame.to_parquet(table, index=False)


def relative(path: Path, table: Path) -> str:
    """A path as seen from the table's folder, under its final name: steps write under `.partial-<name>`."""
    final = Path(*(part.removeprefix(".partial-") for part in path.parts))
    return os.path.relpath(final.resolve(), table.parent.resolve())


def read(table: Path) -> list[Edit]:
    """The rows of a table; raises UserError where it is none."""
    names = [field.name for field in fields(Edit)]
    try:
        frame = pd.read_parquet(table)
    except (OSError, ValueError) as error:
        raise UserError(f"{table} is no readable table of edited models: {error}") from error
    frame = frame if "failure" in frame else frame.assign(failure="")  # as older tables have none
    missing = [name for name in names if name not in frame]
    if missing:
        raise UserError(f"{table} lists no edited models: it has no column {', '.join(missing)}")
    place = table.parent
    return [
        Edit(**{**row, **{name: Path(os.path.normpath(place / row[name])) for name in ("base_path", "path")}})
        for row in frame[names].to_dict("records")
    ]
