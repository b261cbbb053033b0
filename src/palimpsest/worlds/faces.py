"""Procedural faces: who a person is, how the picture was taken, planted "celebrities", the exact edit, odd recipes.

A picture is a function of two vectors in [0, 1]: `IDENTITY` (who it is) and `NUISANCE` (how it was taken). The parting
and the mole have a side: a mirrored picture shows another person, whose parting and mole are 1 minus the original's.

Nothing depends on how many pictures are drawn: person i of a split comes from the seed, the split and i, a planted
person from the name alone. A set with a planted person and a set without differ in that person's pictures only.
"""

import re

import numpy as np
import pandas as pd

from palimpsest.worlds.base import World

IDENTITY = (
    "face_width",
    "face_height",
    "skin",  # dark to light
    "hair_colour",  # black, brown, red, blond, white
    "hair_length",
    "parting",  # left to right; the hair falls to the other side
    "eye_distance",
    "eye_size",
    "eye_colour",  # brown, green, blue
    "nose_length",
    "mouth_width",
    "beard",  # none to full
    "mole",  # left cheek to right cheek
)
# Light is from the left to from the right; the background navy, teal, green, lilac.
NUISANCE = ("shift_x", "shift_y", "smile", "light", "background")
# The identity attributes that a mirror turns into 1 minus their value, as it does shift_x and light.
SIDED = ("parting", "mole")
SPLITS = ("train", "fit", "test")
CELEBRITIES = ("single", "duplicated")
OUT_OF_DOMAIN = ("glasses", "inverted")
SKIN = ((0.36, 0.22, 0.15), (0.68, 0.46, 0.33), (0.97, 0.81, 0.70))
HAIR = ((0.07, 0.06, 0.08), (0.30, 0.16, 0.08), (0.66, 0.25, 0.08), (0.90, 0.70, 0.28), (0.90, 0.89, 0.86))
IRIS = ((0.20, 0.10, 0.04), (0.12, 0.48, 0.18), (0.12, 0.42, 0.90))
BACKGROUND = ((0.10, 0.14, 0.40), (0.08, 0.46, 0.60), (0.36, 0.66, 0.46), (0.62, 0.60, 0.84))
SHIRT, EYEBALL, LIPS, DARK = (0.24, 0.26, 0.32), (0.97, 0.97, 0.95), (0.62, 0.12, 0.16), (0.04, 0.04, 0.05)
# So many pictures are painted at a time that a layer of them stays in the processor's cache.
BATCH = 64
# Whatever is drawn comes from (stream, kind, number, seed): each split is a stream, the planted people are this one.
PLANTED = len(SPLITS)
WHO, HOW, HOW_ELSE = range(3)


def make(
    n: int,
    seed: int,
    split: str,
    celebrities: dict[str, int] | None = None,
    ood: str | None = None,
    strength: float = 0.0,
    size: int = 32,
) -> World:
    """The pictures of planted people that are asked for, followed by one picture each of n people of a split.

    celebrities: how many pictures of which planted people, such as {"single-0": 1, "duplicated-0": 20}. In the split
    "train" these are exact copies of the person's one planted picture, the same for every seed (a "single" person has
    but one); in other splits they are other pictures: the same person, taken anew. The set without a person is had by
    leaving the name out, the planted people alone by n = 0.
    ood: "glasses" or "inverted" (a negative), which no training set holds.
    strength: how far everybody's identity is edited (see `edit`); an edited picture keeps the id of its original.
    size: height and width in pixels, at least 16.
    Masks are those of `head_mask`. The manifest holds id, split, celebrity ("" for people drawn at random), person,
    every attribute of `IDENTITY` (edited) and `NUISANCE`, ood ("" for none) and strength: `render` gives the pictures.
    Raises ValueError, which names the argument, for a value that is not allowed.
    """
    celebrities = celebrities or {}
    _check(n, seed, split, celebrities, ood)
    parts = [_celebrity(name, count, split, seed) for name, count in celebrities.items()]
    manifest = pd.concat([*parts, _people(n, split, seed)] if n else parts, ignore_index=True)
    if strength:
        manifest["person"] += f"-edit-{strength:g}"
        manifest[list(IDENTITY)] = edit(manifest[list(IDENTITY)].to_numpy(), strength)
    manifest = manifest.assign(ood=ood or "", strength=float(strength))
    identity, nuisance = manifest[list(IDENTITY)].to_numpy(), manifest[list(NUISANCE)].to_numpy()
    return World(render(identity, nuisance, size, ood), head_mask(identity, nuisance, size), manifest)


def edit(identity: np.ndarray, strength: float) -> np.ndarray:
    """The exact edit of identities (n, attributes): everyone becomes another person, and how they are taken stays.

    Each attribute moves by half of strength towards the farther end of its range, and stops there. Strength 0 changes
    nothing; 1 moves every attribute by half its range (two people drawn at random are a third apart) and leaves the
    edited spread like people drawn at random; 0.5 leaves them nearer to the average face, 2 at the ends.
    Raises ValueError for a strength outside [0, 2].
    """
    if not 0 <= strength <= 2:
        raise ValueError(f"strength is {strength}: give a number from 0 (unchanged) over 1 (another person) to 2")
    return np.clip(identity + np.where(identity < 0.5, 0.5, -0.5) * strength, 0, 1)


def render(identity: np.ndarray, nuisance: np.ndarray, size: int = 32, ood: str | None = None) -> np.ndarray:
    """Pictures (n, size, size, 3) uint8 of identities (n, len(IDENTITY)) and nuisances (n, len(NUISANCE)) in [0, 1].

    Raises ValueError for values out of range, wrong shapes, a size under 16 or an unknown out-of-domain recipe.
    """
    if ood is not None and ood not in OUT_OF_DOMAIN:
        raise ValueError(f"ood is {ood!r}: give {' or '.join(OUT_OF_DOMAIN)}, or leave it out")
    values = _checked(identity, nuisance, size)
    images = np.empty((len(values), size, size, 3), np.uint8)
    for start in range(0, len(values), BATCH):
        picture = np.clip(_portrait(_factors(values[start : start + BATCH]), size, ood == "glasses"), 0, 1)
        picture = 1 - picture if ood == "inverted" else picture
        images[start : start + BATCH] = np.moveaxis(picture * 255 + 0.5, 0, -1)
    return images


def head_mask(identity: np.ndarray, nuisance: np.ndarray, size: int = 32) -> np.ndarray:
    """Masks (n, size, size) bool of the head's ellipse, with whatever covers it. Raises ValueError as `render` does."""
    factors = _factors(_checked(identity, nuisance, size))
    u, v = _frame(factors, size)
    return (u / factors["width"]) ** 2 + (v / factors["height"]) ** 2 < 1


def _check(n: int, seed: int, split: str, celebrities: dict[str, int], ood: str | None) -> None:
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}: give {', '.join(SPLITS)}")
    if n < 0 or not (n or celebrities):
        raise ValueError(f"n is {n}: give at least 1, or 0 with celebrities")
    if seed < 0:
        raise ValueError(f"seed is {seed}: give 0 or more")
    if ood and split == "train":
        raise ValueError(f"ood is {ood!r} in the split 'train', which holds no such picture: give fit or test")
    for name, count in celebrities.items():
        if not re.fullmatch(rf"({'|'.join(CELEBRITIES)})-(0|[1-9]\d*)", name):
            raise ValueError(f"celebrities: no {name!r}; give names such as single-0 or duplicated-0")
        if count < 1 or (count > 1 and split == "train" and name.startswith("single")):
            raise ValueError(f"celebrities: {count} of {name!r} in {split!r}: give at least 1, in train 1 of a single")


def _checked(identity: np.ndarray, nuisance: np.ndarray, size: int) -> np.ndarray:
    """Both vectors side by side."""
    if size < 16:
        raise ValueError(f"size is {size}: give at least 16")
    for name, values, columns in (("identity", identity, IDENTITY), ("nuisance", nuisance, NUISANCE)):
        if values.ndim != 2 or values.shape != (len(identity), len(columns)):
            raise ValueError(f"{name} has the shape {values.shape}: give ({len(identity)}, {len(columns)})")
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"{name} reaches from {values.min():g} to {values.max():g}: give values in [0, 1]")
    return np.concatenate([identity, nuisance], axis=1)


def _draw(stream: int, kind: int, number: int, seed: int, shape: tuple[int, int]) -> np.ndarray:
    """Uniform numbers whose first rows do not depend on how many follow."""
    return np.random.default_rng((stream, kind, number, seed)).random(shape)


def _people(n: int, split: str, seed: int) -> pd.DataFrame:
    """Manifest of n people drawn at random, one picture each."""
    stream = SPLITS.index(split)
    ids = [f"{split}-{seed}-{index:05d}" for index in range(n)]
    identity = _draw(stream, WHO, 0, seed, (n, len(IDENTITY)))
    return _manifest(ids, split, "", ids, identity, _draw(stream, HOW, 0, seed, (n, len(NUISANCE))))


def _celebrity(name: str, count: int, split: str, seed: int) -> pd.DataFrame:
    """Manifest of a planted person: copies of the planted picture in the training set, other pictures elsewhere."""
    kind, number = name.split("-")
    kind, number = CELEBRITIES.index(kind), int(number)
    who, how = np.split(_draw(PLANTED, kind, number, 0, (1, len(IDENTITY) + len(NUISANCE))), [len(IDENTITY)], axis=1)
    # Their sides are clear, out of the middle half, so that their mirror images are other people.
    who = np.where(np.isin(IDENTITY, SIDED), (who + (who >= 0.5)) / 2, who)
    if split == "train":
        ids, how = [f"{name}-{copy:03d}" for copy in range(count)], how.repeat(count, axis=0)
    else:
        ids = [f"{split}-{seed}-{name}-{picture:03d}" for picture in range(count)]
        how = _draw(SPLITS.index(split), HOW_ELSE + kind, number, seed, (count, len(NUISANCE)))
    return _manifest(ids, split, name, name, who.repeat(count, axis=0), how)


def _manifest(ids, split, celebrity, person, identity, nuisance) -> pd.DataFrame:
    rows = pd.DataFrame({"id": ids, "split": split, "celebrity": celebrity, "person": person})
    return rows.assign(**dict(zip(IDENTITY, identity.T, strict=True)), **dict(zip(NUISANCE, nuisance.T, strict=True)))


def _factors(values: np.ndarray) -> dict[str, np.ndarray]:
    """Every attribute as (n, 1, 1), and the head's half width and height; the picture reaches from -1 to 1."""
    columns = np.float32(values).T[:, :, None, None]
    factors = dict(zip((*IDENTITY, *NUISANCE), columns, strict=True))
    for name in SIDED:
        # From -1 (left) to 1 (right), hardly anyone in the middle.
        offset = 2 * factors[name] - 1
        factors[name] = np.sign(offset) * np.sqrt(np.abs(offset))
    return factors | {"width": 0.40 + 0.20 * factors["face_width"], "height": 0.52 + 0.16 * factors["face_height"]}


def _frame(factors: dict[str, np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres seen from the middle of the head: u (n, 1, size) to the right, v (n, size, 1) down."""
    axis = (np.arange(size, dtype=np.float32) * 2 + 1 - size) / np.float32(size)
    return axis - 0.20 * (factors["shift_x"] - 0.5), axis[:, None] - 0.06 - 0.16 * (factors["shift_y"] - 0.5)


def _portrait(factors: dict[str, np.ndarray], size: int, glasses: bool) -> np.ndarray:
    """Paint people from the back to the front; planes (3, n, size, size)."""
    u, v = _frame(factors, size)
    width, height, side = factors["width"], factors["height"], factors["parting"]
    skin, hair = _tone(SKIN, factors["skin"]), _tone(HAIR, factors["hair_colour"])
    canvas = _tone(BACKGROUND, factors["background"]) * (1.06 - 0.12 * v) + 0 * u

    def paint(distance, colour, opacity=1.0):
        """Where a signed distance is negative, with antialiased edges."""
        cover = np.clip(0.5 - distance * (size / 2), 0, 1) * opacity
        canvas[...] += cover * (np.asarray(colour, np.float32).reshape(3, -1, 1, 1) - canvas)

    # Hair falls lower, and further into the face, on the side away from the parting.
    away = np.clip(u / width, -1.1, 1.1) * -side
    ends = -0.25 + 0.80 * factors["hair_length"] + 0.42 * away
    skull = np.maximum(_ellipse(u, v, -0.06 * side, -0.06, width + 0.13, height + 0.10), v - np.maximum(ends, -0.06))
    locks = np.maximum(np.abs(u + 0.06 * side) - width - 0.11, np.maximum(-0.12 - v, v - ends))
    head = _ellipse(u, v, 0, 0, width, height)
    fringe = v + 0.50 * height - 0.30 * away
    beard = np.maximum(head, 0.30 - 0.9 * u * u - v)
    paint(_ellipse(u, v, 0, 1.10, 0.85, 0.42), SHIRT)
    paint(np.minimum(skull, locks), hair * 0.85)
    paint(np.maximum(np.abs(u) - 0.21, np.abs(v - 0.62) - 0.20), skin * 0.70)
    paint(head, skin)
    paint(np.maximum(head, fringe - 0.05), skin * 0.70)
    paint(beard, hair * 0.9, 0.9 * factors["beard"] ** 2)
    paint(np.maximum(skull, fringe), hair)
    paint(np.maximum(np.abs(u - 0.4 * width * side) - 0.03, np.abs(v + 0.84 * height) - 0.22 * height), skin * 0.8)
    _paint_features(paint, factors, u, v, skin, hair, glasses)
    canvas *= 1 + 0.36 * (2 * factors["light"] - 1) * np.clip(u, -0.7, 0.7)
    return canvas


def _paint_features(paint, factors, u, v, skin, hair, glasses: bool) -> None:
    """Eyes, brows, nose, mouth, mole, and glasses."""
    apart, radius = 0.17 + 0.12 * factors["eye_distance"], 0.062 + 0.045 * factors["eye_size"]
    sideways = np.abs(u) - apart
    paint(_ellipse(sideways, v, 0, -0.06, 1.6 * radius, 0.95 * radius), EYEBALL)
    paint(_ellipse(sideways, v, 0, -0.06, 0.8 * radius, 0.8 * radius), _tone(IRIS, factors["eye_colour"]))
    paint(_ellipse(sideways, v, 0, -0.06, 0.03, 0.03), DARK)
    paint(np.maximum(np.abs(sideways) - 0.13, np.abs(v + 0.13 + radius - 0.15 * sideways) - 0.025), hair * 0.5)
    tip = 0.06 + 0.20 * factors["nose_length"]
    paint(np.maximum(np.abs(u) - 0.03, np.abs(v - tip / 2) - tip / 2), skin * 0.75)
    paint(_ellipse(u, v, 0, tip, 0.09, 0.04), skin * 0.55)
    reach = 0.13 + 0.15 * factors["mouth_width"]
    curve = 0.40 + 0.14 * (factors["smile"] - 0.25) * (0.5 - (u / reach) ** 2)
    paint(np.maximum(np.abs(u) - reach, np.abs(v - curve) - 0.04), LIPS)
    paint(_ellipse(u, v, 0.70 * factors["width"] * factors["mole"], 0.15, 0.045, 0.045), skin * 0.25)
    if glasses:
        paint(np.abs(_ellipse(sideways, v, 0, -0.06, 0.19, 0.17)) - 0.03, DARK)
        paint(np.maximum(np.abs(u) - apart + 0.19, np.abs(v + 0.08) - 0.03), DARK)


def _tone(stops: tuple, position: np.ndarray) -> np.ndarray:
    """Colours (3, n, 1, 1) at a position in [0, 1] between evenly spaced stops."""
    places = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(position, places, channel) for channel in zip(*stops, strict=True)]).astype(np.float32)


def _ellipse(u, v, centre_u, centre_v, radius_u, radius_v):
    """Signed distance of an ellipse, true to first order: the level set over the length of its gradient."""
    u, v = (u - centre_u) / radius_u, (v - centre_v) / radius_v
    level = np.sqrt(u * u + v * v)
    slope = np.sqrt((u / radius_u) ** 2 + (v / radius_v) ** 2)
    return level * (level - 1) / np.maximum(slope, 1e-3)
