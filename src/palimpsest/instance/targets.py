"""Which pictures are to be forgotten, and which are to be remembered.

Nothing of a target stays among the remembered pictures: neither the picture itself nor an exact copy of it.
"""

import numpy as np
import pandas as pd

from palimpsest.run import Input, Output, UserError, step
from palimpsest.worlds.duplicates import squared_distances

NEAREST = 20  # remembered pictures kept as neighbours of each target


def targets(
    data_images: Input,
    data_manifest: Input,
    target_images: list[Input],
    target_manifests: list[Input],
    images: Output,
    manifest: Output,
    remember: Output,
    neighbours: Output,
    *,
    sets: list[str],
    chosen: dict,
) -> dict:
    """Collect the targets.

    chosen: name of each target to {"set": a data set, and "id" or "path": which row of its manifest, by that column};
    sets: the names of the given sets.
    images (targets, h, w, 3) uint8; manifest: one row each, with `target`, `set`, `id` and whatever the set says of it;
    remember: rows of the data that no target equals; neighbours (targets, NEAREST): rows of the data among them that
    are nearest in pixels, nearest first.
    """
    data, known = np.load(data_images, mmap_mode="r"), pd.read_parquet(data_manifest)
    given = {
        name: (np.load(pictures, mmap_mode="r"), pd.read_parquet(rows))
        for name, pictures, rows in zip(sets, target_images, target_manifests, strict=True)
    }
    pictures, rows = [], []
    for name, place in chosen.items():
        picture, row = found(name, place, given)
        if picture.shape != data.shape[1:]:
            raise UserError(
                f"target {name}: its picture is {picture.shape}, those of the data {data.shape[1:]}: resize it"
            )
        pictures.append(picture)
        rows.append({"target": name, "set": place["set"], **row})
    wanted = np.stack(pictures)
    refuse_twins(wanted, list(chosen))
    distances = squared_distances(wanted, data)
    kept = np.flatnonzero((distances > 0).all(0))
    if len(kept) < NEAREST:
        raise UserError(f"{data_images}: {len(kept)} pictures are left to remember; give at least {NEAREST}")
    order = np.argsort(distances[:, kept], 1, kind="stable")[:, :NEAREST]
    np.save(images, wanted)
    pd.DataFrame(rows).to_parquet(manifest, index=False)
    np.save(remember, kept)
    np.save(neighbours, kept[order])
    copies = {name: int((row == 0).sum()) for name, row in zip(chosen, distances, strict=True)}
    return {"remembered": len(kept), "of": len(known), "copies_in_data": copies}


def found(name: str, place: dict, given: dict[str, tuple[np.ndarray, pd.DataFrame]]) -> tuple[np.ndarray, dict]:
    """The picture and manifest row of one target; raises UserError where there is none, or more than one."""
    pictures, rows = given[place["set"]]
    column = "path" if "path" in place else "id"
    if column not in rows:
        raise UserError(f"target {name}: the pictures of the set {place['set']} have no {column}: name it by its id")
    matches = np.flatnonzero(rows[column] == place[column])
    if len(matches) != 1:
        raise UserError(
            f"target {name}: the set {place['set']} has {len(matches)} rows with the {column} {place[column]!r}, not"
            f" one. There are such as {', '.join(map(repr, rows[column].head(3)))}."
        )
    return np.asarray(pictures[matches[0]]), rows.iloc[matches[0]].to_dict()


def refuse_twins(pictures: np.ndarray, names: list[str]) -> None:
    """Raise UserError for two targets with the same picture: forgetting one would be counted twice."""
    first_of = {}
    for name, picture in zip(names, pictures, strict=True):
        twin = first_of.setdefault(picture.tobytes(), name)
        if twin != name:
            raise UserError(f"the targets {twin} and {name} are the same picture: leave one out")


if __name__ == "__main__":
    step(targets)
