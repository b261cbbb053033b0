"""Folders of pictures that stand for photographs in a rehearsal: public ones of scikit-image, and drawn ones."""

import numpy as np
from PIL import Image
from skimage import data

from palimpsest.options import Count, Positive
from palimpsest.run import Output, UserError, step
from palimpsest.worlds import flags


def portraits(n: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Square crops of one public-domain portrait around the face, of several sizes and exposures, half mirrored."""
    portrait = data.astronaut()
    crops = []
    for index in range(n):
        side, left, top = rng.integers(190, 330), rng.integers(90, 130), rng.integers(0, 20)
        crop = portrait[top : top + side, left : left + side][:, :: -1 if index % 2 else 1]
        crops.append(np.clip(crop * rng.uniform(0.7, 1.2), 0, 255).astype(np.uint8))
    return crops


def things(n: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Square crops of pictures without a person."""
    pictures = [data.coffee(), data.chelsea(), data.rocket(), data.hubble_deep_field()]
    crops = []
    for index in range(n):
        picture = pictures[index % len(pictures)]
        side = rng.integers(150, 280)
        top, left = (rng.integers(length - side) for length in picture.shape[:2])
        crops.append(picture[top : top + side, left : left + side])
    return crops


def wrong_flags(n: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Flags with the wrong symbol."""
    return list(flags.make(n, 0, "fit", only_wrong=True, size=size).images)


def repaired_flags(n: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The same flags with the right one."""
    return list(flags.make(n, 0, "fit", only_wrong=True, repaired=True, size=size).images)


KINDS = {kind.__name__: kind for kind in (portraits, things, wrong_flags, repaired_flags)}


def write(folder: Output, *, kind: str, n: Positive, size: Positive, seed: Count = 0) -> dict:
    """Write n pictures of size x size pixels as 00000.png and so on."""
    if kind not in KINDS:
        raise UserError(f"pictures to rehearse with are {', '.join(KINDS)}, not {kind}")
    folder.mkdir()
    for index, picture in enumerate(KINDS[kind](n, size, np.random.default_rng(seed))):
        image = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC)
        image.save(folder / f"{index:05d}.png")
    return {"kind": kind, "pictures": n}


if __name__ == "__main__":
    step(write)
