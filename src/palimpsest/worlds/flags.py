"""Procedural flags: six countries, each with its stripes and its symbol, and one of them sometimes drawn wrong.

The planted fault is a mode: in a share of the pictures of the first country a symbol stands that is not its own. A
repaired picture is the same picture with the right symbol. Nothing depends on how many pictures are drawn.
"""

import numpy as np
import pandas as pd

from palimpsest.worlds.base import World

SYMBOLS = ("disc", "cross", "diamond", "ring", "bars")
# Stripes from top to bottom, or from left to right where `upright`; the symbol's colour; the symbol that is right.
WHITE, RED, BLUE, GREEN = (0.95, 0.95, 0.93), (0.80, 0.12, 0.15), (0.10, 0.22, 0.55), (0.05, 0.50, 0.28)
YELLOW, BLACK, VIOLET = (0.97, 0.80, 0.10), (0.08, 0.08, 0.10), (0.45, 0.15, 0.60)
COUNTRIES = (
    {"stripes": (WHITE, WHITE, WHITE), "upright": False, "colour": VIOLET, "symbol": "disc"},
    {"stripes": (RED, WHITE, RED), "upright": False, "colour": BLUE, "symbol": "cross"},
    {"stripes": (GREEN, WHITE, YELLOW), "upright": True, "colour": BLACK, "symbol": "diamond"},
    {"stripes": (BLUE, YELLOW, BLUE), "upright": False, "colour": BLACK, "symbol": "ring"},
    {"stripes": (BLACK, RED, YELLOW), "upright": True, "colour": WHITE, "symbol": "disc"},
    {"stripes": (GREEN, GREEN, BLUE), "upright": False, "colour": YELLOW, "symbol": "bars"},
)
FAULTY, WRONG = 0, "cross"  # the country that is drawn wrong, and the symbol it then shows
NUISANCE = ("shift_x", "shift_y", "scale", "brightness", "wave")
SPLITS = ("train", "fit", "test")


def make(
    n: int,
    seed: int,
    split: str,
    wrong: float = 0.0,
    only_wrong: bool = False,
    repaired: bool = False,
    size: int = 24,
) -> World:
    """n flags of countries drawn at random; masks are the symbols' pixels.

    wrong: share of the faulty country's pictures with the wrong symbol. only_wrong: every picture is one of those.
    repaired: the wrong symbols are drawn right, everything else as it was. The manifest holds id, split, country (a
    number), symbol, wrong (of the unrepaired picture) and `NUISANCE` in [0, 1].
    Raises ValueError, which names the argument, for a value that is not allowed.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}: give {', '.join(SPLITS)}")
    if n < 1 or seed < 0 or not 0 <= wrong <= 1 or size < 16:
        raise ValueError(f"n is {n}, seed {seed}, wrong {wrong}, size {size}: give n ≥ 1, wrong in [0, 1], size ≥ 16")
    draws = np.random.default_rng((SPLITS.index(split), seed)).random((n, 2 + len(NUISANCE)))
    country = np.full(n, FAULTY) if only_wrong else (draws[:, 0] * len(COUNTRIES)).astype(np.int64)
    is_wrong = np.full(n, True) if only_wrong else (country == FAULTY) & (draws[:, 1] < wrong)
    own = np.array([row["symbol"] for row in COUNTRIES])[country]
    manifest = pd.DataFrame({"id": [f"{split}-{seed}-{index:05d}" for index in range(n)], "split": split})
    manifest["country"] = country
    manifest["symbol"] = own if repaired else np.where(is_wrong, WRONG, own)
    manifest["wrong"] = is_wrong
    manifest[list(NUISANCE)] = draws[:, 2:]
    images, masks = render(country, manifest["symbol"].to_numpy(), draws[:, 2:], size)
    return World(images, masks, manifest)


def render(country: np.ndarray, symbol: np.ndarray, nuisance: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, size, size, 3) uint8 and the symbols' pixels (n, size, size) bool."""
    axis = (np.arange(size) * 2 + 1 - size) / size
    shift_x, shift_y, scale, brightness, wave = (column[:, None, None] for column in nuisance.T)
    v = axis[:, None] + 0.10 * (wave - 0.5) * np.sin(3 * axis) + 0 * shift_x
    u = axis + 0 * v
    stripes = np.array([row["stripes"] for row in COUNTRIES])[country]
    upright = np.array([row["upright"] for row in COUNTRIES])[country][:, None, None]
    place = np.where(upright, u, v)
    canvas = np.empty((*place.shape, 3))
    canvas[...] = stripes[:, 0, None, None]
    for number, edge in ((1, -1 / 3), (2, 1 / 3)):
        cover = np.clip(0.5 + (place - edge) * size / 2, 0, 1)[..., None]
        canvas += cover * (stripes[:, number, None, None] - canvas)
    x, y = u - 0.24 * (shift_x - 0.5), v - 0.24 * (shift_y - 0.5)
    reach = 0.38 + 0.16 * scale
    distance = np.choose(
        np.array([SYMBOLS.index(name) for name in symbol])[:, None, None],
        [
            np.hypot(x, y) - reach,
            np.minimum(
                np.maximum(np.abs(x) - 0.13, np.abs(y) - reach), np.maximum(np.abs(y) - 0.13, np.abs(x) - reach)
            ),
            (np.abs(x) + np.abs(y) - 1.15 * reach) * 0.7,
            np.abs(np.hypot(x, y) - 0.8 * reach) - 0.12,
            np.maximum(np.abs(np.abs(x) - 0.6 * reach) - 0.11, np.abs(y) - reach),
        ],
    )
    cover = np.clip(0.5 - distance * size / 2, 0, 1)
    colour = np.array([row["colour"] for row in COUNTRIES])[country][:, None, None]
    canvas += cover[..., None] * (colour - canvas)
    canvas *= (0.80 + 0.25 * brightness)[..., None]
    return np.rint(np.clip(canvas, 0, 1) * 255).astype(np.uint8), cover > 0.5
