"""Collect the pictures that are audited: of each concept, others to compare them with, and what is no picture of it.

Pictures of the concept are the base's own, as in the source, and only those that show it to the judges, as the source
draws anew until they do; references are real scenes, as in the source, and the base's own for captions without the
concept. Without the latter what was drawn would be compared with what was not.
"""

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from palimpsest.judges.readers import Readers
from palimpsest.options import Count, Positive
from palimpsest.run import Input, Output, UserError, step
from palimpsest.worlds.captions import caption
from palimpsest.worlds.concepts import Concept

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
    seed: Count = 0,
) -> dict:
    """pictures: uint8 (n, H, W, 3); manifest: a row each (concept, set, picture, own, neutral: captions).

    reference_prompts, reference_pictures: what the base drew of which prompts, as the family erasure has them;
    concepts: factor, value and anchor by name; count: pictures of a set, altered: of an altered one.
    as_read: only drawn pictures that judges read rightly.
    """
    readers, table, real = (
        Readers(classifier, detector),
        pd.read_parquet(reference_prompts),
        pd.read_parquet(real_manifest),
    )
    images, rows, found, misread = np.load(real_images, mmap_mode="r"), [], [], {}
    with np.load(reference_pictures) as drawn:
        for number, (name, given) in enumerate(concepts.items()):
            concept, rng = Concept(name, **given), np.random.default_rng((seed, number))
            asked = table[table["concept"] == name].reset_index(drop=True)
            chosen = {}
            for kind, role in zip(DRAWN, ("own", "rest"), strict=True):
                places = np.flatnonzero(asked["role"] == role)
                right = readers.shows(concept, drawn[name][places]) == (role == "own")
                misread[f"{name}.{kind}"] = int((~right).sum())
                places = (places[right] if as_read else places)[:count]
                chosen[kind] = drawn[name][places], asked.iloc[places]
            has = concept.shown_by(real)
            for kind, wanted in (("real_concept", has), ("real", ~has)):
                places = np.sort(rng.permutation(np.flatnonzero(wanted))[:count])
                chosen[kind] = images[places], real.iloc[places]
            own, captions = (each[:altered] for each in chosen["concept"])
            for kind, change in (("scrambled", scrambled), ("blurred", blurred), ("noise", noise)):
                chosen[kind] = change(own, rng), captions
            for kind, (some, described) in chosen.items():
                if len(some) < 2:
                    raise UserError(
                        f"concept {name}: {len(some)} pictures of the set {kind}, two are needed. Give more prompts of "
                        "it (erasure.prompts), or larger data sets: only pictures that judges read rightly are taken"
                    )
                found.append(some)
                bare = concept.without(described)
                rows.append(
                    pd.DataFrame({"own": captions_of(described), "neutral": captions_of(bare)}).assign(
                        concept=name, set=kind, picture=np.arange(len(some))
                    )
                )
    np.save(pictures, np.concatenate(found))
    pd.concat(rows, ignore_index=True).to_parquet(manifest, index=False)
    return {"misread": misread}


def captions_of(rows: pd.DataFrame) -> list[str]:
    """The captions of rows of a manifest, by its template."""
    return [caption(row) for row in rows.to_dict("records")]


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
