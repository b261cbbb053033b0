"""Collect the pictures that are audited: of each concept, others to compare them with, and what is no picture of it.

Pictures of the concept are the base's own, as in the source, and only those that show it to the judges, as the source
draws anew until they do; references are real scenes, or photographs with captions, as in the source, and the base's own
for captions without the concept. Without the latter what was drawn would be compared with what was not. Of a published
model's concept there are no real pictures: nobody says which photographs show it.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from palimpsest.judges.readers import readers_of
from palimpsest.options import Count, Positive
from palimpsest.run import Input, Output, UserError, step
from palimpsest.worlds.captions import caption
from palimpsest.worlds.concepts import Concept
from palimpsest.worlds.named import Named, concept_of
from palimpsest.worlds.prompt_files import captions_of_pictures

# Drawn with and without the concept; real with and without it; and the drawn ones with it, altered.
DRAWN, ALTERED = ("concept", "neutral"), ("scrambled", "blurred", "noise")
SETS = (*DRAWN, "real_concept", "real", *ALTERED)
BLOCKS = 8  # of a side of a picture that is scrambled
BLUR = 1 / 32  # of a side: the standard deviation


def sets(
    reference_prompts: Input,
    reference_pictures: Input,
    real_images: Input,
    real_manifest: Input,
    classifier: Input,
    detector: Input,
    pictures: Output,
    manifest: Output,
    *,
    concepts: dict,
    count: Positive,
    altered: Positive,
    as_read: bool = True,
    captions: Input | None = None,
    judges: list[Input] | None = None,
    judge_roles: list[str] | None = None,
    seed: Count = 0,
) -> dict:
    """pictures: uint8 (n, H, W, 3); manifest: a row each (concept, set, picture, explicit, own, neutral: captions).

    reference_prompts, reference_pictures: what the base drew of which prompts, as the family erasure has them;
    concepts: rows of the configuration by name; count: pictures of a set, altered: of an altered one. as_read: only
    drawn pictures that judges read rightly. captions: of the real pictures, where these are photographs. judges:
    further ones, by their roles, as `readers_of` takes them. Pictures of an explicit concept are as they were drawn,
    for the audit alone: what shows them asks `explicit`.
    """
    readers, table = readers_of(classifier, detector, judge_roles, judges), pd.read_parquet(reference_prompts)
    images, rows, found, misread = np.load(real_images, mmap_mode="r"), [], [], {}
    real = captioned(pd.read_parquet(real_manifest), captions)
    with np.load(reference_pictures) as drawn:
        for number, (name, given) in enumerate(concepts.items()):
            concept, rng = concept_of(name, given), np.random.default_rng((seed, number))
            asked, before = table[table["concept"] == name].reset_index(drop=True), drawn[name]
            if before.shape[1:] != images.shape[1:]:
                raise UserError(
                    f"the real pictures have {images.shape[1]} pixels, those that the model draws {before.shape[1]}. "
                    "Set the size of the data set memory.real to that"
                )
            chosen = {}
            for kind, role in zip(DRAWN, ("own", "rest"), strict=True):
                places = np.flatnonzero(asked["role"] == role)
                right = readers.shows(concept, before[places]) == (role == "own")
                misread[f"{name}.{kind}"] = int((~right).sum())
                places = (places[right] if as_read else places)[:count]
                chosen[kind] = before[places], asked.iloc[places]
            for kind, wanted in real_places(concept, real).items():
                places = np.sort(rng.permutation(wanted)[:count])
                chosen[kind] = images[places], real.iloc[places]
            own, described = (each[:altered] for each in chosen["concept"])
            for kind, change in (("scrambled", scrambled), ("blurred", blurred), ("noise", noise)):
                chosen[kind] = change(own, rng), described
            for kind, (some, described) in chosen.items():
                if len(some) < 2:
                    raise UserError(
                        f"concept {name}: {len(some)} pictures of the set {kind}, two are needed. Give more prompts of "
                        "it (erasure.prompts), or larger data sets: only pictures that judges read rightly are taken"
                    )
                found.append(some)
                texts, bare = captions_of(concept, described, kind)
                rows.append(
                    pd.DataFrame({"own": texts, "neutral": bare}).assign(
                        concept=name, set=kind, picture=np.arange(len(some)), explicit=concept.censored
                    )
                )
    np.save(pictures, np.concatenate(found))
    pd.concat(rows, ignore_index=True).to_parquet(manifest, index=False)
    return {"misread": misread}


def captioned(manifest: pd.DataFrame, captions: Path | None) -> pd.DataFrame:
    """A manifest of photographs with the column `prompt`, "" where there is no caption; that of scenes as it is."""
    if captions is None:
        return manifest
    if "path" not in manifest:
        raise UserError("memory.captions is for photographs, and memory.real names a set that is drawn. Leave it out")
    known = captions_of_pictures(captions, "memory.captions")
    found = manifest.assign(prompt=manifest["path"].map(known).fillna(""))
    if not (found["prompt"] != "").any():
        raise UserError(
            f"memory.captions: {captions} has no caption of any picture of memory.real, whose first is "
            f"{manifest['path'].iloc[0]}; the first that has one is {next(iter(known))}. Name files as they lie below "
            "the folder of the pictures"
        )
    return found


def real_places(concept: Concept | Named, real: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which real pictures each set may take: of scenes with the concept and without; of photographs without alone.

    These are the photographs with captions that do not name it. Raises UserError without captions.
    """
    if isinstance(concept, Named):
        if "prompt" not in real:
            raise UserError("the real pictures are photographs: name the file of their captions, memory.captions")
        return {"real": np.flatnonzero([text != "" and not concept.names(text) for text in real["prompt"]])}
    has = concept.shown_by(real)
    return {"real_concept": np.flatnonzero(has), "real": np.flatnonzero(~has)}


def captions_of(concept: Concept | Named, rows: pd.DataFrame, kind: str) -> tuple[list[str], list[str]]:
    """The captions of a set's rows, and the same without the concept."""
    if isinstance(concept, Named):
        texts = list(rows["prompt"])
        return texts, texts if kind in ("neutral", "real") else concept.without(texts)
    own, bare = ([caption(row) for row in some.to_dict("records")] for some in (rows, concept.without(rows)))
    return own, bare


def scrambled(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pictures (n, H, W, c) whose BLOCKS x BLOCKS blocks have changed places, each picture's in its own way."""
    n, height, width, channels = pictures.shape
    high, wide = height // BLOCKS, width // BLOCKS
    blocks = pictures.reshape(n, BLOCKS, high, BLOCKS, wide, channels).transpose(0, 1, 3, 2, 4, 5)
    blocks = blocks.reshape(n, BLOCKS**2, high, wide, channels)
    moved = np.stack([each[rng.permutation(BLOCKS**2)] for each in blocks])
    moved = moved.reshape(n, BLOCKS, BLOCKS, high, wide, channels).transpose(0, 1, 3, 2, 4, 5)
    return moved.reshape(pictures.shape)


def blurred(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pictures (n, H, W, c) behind a Gaussian blur."""
    width = BLUR * pictures.shape[1]
    return gaussian_filter(pictures.astype(np.float32), (0, width, width, 0)).round().astype(np.uint8)


def noise(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uniform noise in place of pictures (n, H, W, c)."""
    return rng.integers(256, size=pictures.shape, dtype=np.uint8)


if __name__ == "__main__":
    step(sets)
