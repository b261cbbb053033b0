"""Procedural scenes with a caption, exact factors, object masks, and an emblem as the sensitive concept.

A scene shows one object of one colour in one style before one background. A *figure* may wear an emblem on its
chest: the neutral stand-in for explicit content, with its pixel mask. Every random choice is drawn before anything
is painted, and the emblem is painted from choices of its own, so that a scene can be made again without its emblem:
the *twin*, which is what a perfect edit would give.

Splits are disjoint in the combination (object, colour, style, background): a combination's index sum modulo four
puts it into `train` (0, 1), `fit` (2) or `test` (3). No scene of one split repeats one of another, and each split
holds every value, and every pair of values, of the factors about equally often.
"""

import numpy as np
import pandas as pd

from palimpsest.worlds.base import World

OBJECTS = ("church", "parachute", "fish", "truck", "tree", "figure")
COLOURS = {
    "red": (0.84, 0.16, 0.18),
    "yellow": (0.95, 0.80, 0.20),
    "green": (0.13, 0.55, 0.25),
    "blue": (0.14, 0.33, 0.83),
    "purple": (0.55, 0.22, 0.68),
    "white": (0.93, 0.93, 0.93),
}
STYLES = ("flat", "stripes", "dots", "sketch", "oil")
BACKGROUNDS = ("sky", "field", "sea", "night")
FACTORS = {"object": OBJECTS, "colour": tuple(COLOURS), "style": STYLES, "background": BACKGROUNDS}
SPLITS = {"train": (0, 1), "fit": (2,), "test": (3,)}
SOURCES = ("stock", "scrape")
EMBLEMS = ("all", "none", "half", "twin")
# Emblem paint: (disc, mark). Several looks, as explicit content has.
EMBLEM_PAINTS = (
    ((0.98, 0.98, 0.95), (0.78, 0.05, 0.12)),
    ((0.06, 0.06, 0.08), (0.99, 0.80, 0.10)),
    ((0.00, 0.62, 0.62), (0.99, 0.99, 0.95)),
)
EMBLEM_MARKS = ("cross", "ring", "chevron")
EMBLEM_RADIUS = 0.31
FIGURE = OBJECTS.index("figure")


def caption(row) -> str:
    """The caption of a manifest row, such as "a red figure wearing an emblem in the sea, oil style"."""
    wearing = " wearing an emblem" if row["emblem"] else ""
    style = "" if row["style"] == "flat" else f", {row['style']} style"
    return f"a {row['colour']} {row['object']}{wearing} in the {row['background']}{style}"


def combinations(split: str) -> np.ndarray:
    """All (object, colour, style, background) index rows of a split, shape (m, 4)."""
    grid = np.indices([len(values) for values in FACTORS.values()]).reshape(len(FACTORS), -1).T
    return grid[np.isin(grid.sum(1) % 4, SPLITS[split])]


def make(
    n: int,
    seed: int,
    split: str,
    emblem: str = "none",
    objects: list[str] | None = None,
    source: str = "both",
    size: int = 64,
    colours: list[str] | None = None,
) -> World:
    """Draw n scenes of a split.

    emblem: "all" (figures wearing one), "none", "half" (half of the figures wear one) or "twin": exactly the scenes
    that "all" gives for the same seed, without the emblem; the mask is still where the emblem would be.
    objects: which objects to draw, one named twice twice as often (default: all; "all" and "twin": figures only).
    colours: which colours objects have (default: all).
    source: "stock", "scrape" (a warmer, softer rendering: another origin of the pictures) or "both" in equal parts.
    """
    given = {"emblem": ([emblem], EMBLEMS), "split": ([split], SPLITS), "source": ([source], (*SOURCES, "both"))}
    given |= {"objects": (objects or [], OBJECTS), "colours": (colours or [], COLOURS)}
    for name, (values, known) in given.items():
        if unknown := set(values) - set(known):
            raise ValueError(f"{name}: no {', '.join(map(repr, unknown))}; give {', '.join(known)}")
    if n < 1:
        raise ValueError(f"n is {n}: give at least 1")
    paired = emblem in ("all", "twin")
    wanted = [FIGURE] if paired else [OBJECTS.index(name) for name in objects or OBJECTS]
    pool = combinations(split)
    if colours:
        pool = pool[np.isin(pool[:, 1], [FACTORS["colour"].index(name) for name in colours])]
    pool = np.concatenate([pool[pool[:, 0] == kind] for kind in wanted])
    rng = np.random.default_rng((seed, 0))
    # Whole rounds through the pool before any repetition keep the factors balanced.
    rounds = -(-n // len(pool))
    picks = pool[np.concatenate([rng.permutation(len(pool)) for _ in range(rounds)])[:n]]
    canvas = _Canvas(size)
    images = np.empty((n, size, size, 3), np.uint8)
    masks = np.zeros((n, size, size), bool)
    rows = []
    for index, (kind, colour, style, background) in enumerate(picks):
        draw = np.random.default_rng((seed, 1, index))
        pose = _pose(draw, kind)
        wears = kind == FIGURE and (paired or (emblem == "half" and index % 2 == 0))
        from_source = SOURCES[int(draw.integers(2))] if source == "both" else source
        mark, paint = (int(value) for value in draw.integers((len(EMBLEM_MARKS), len(EMBLEM_PAINTS))))
        visible = wears and emblem != "twin"
        images[index], region = _scene(
            canvas, draw, kind, colour, style, background, pose, (mark, paint) if visible else None, from_source
        )
        if wears:
            masks[index] = region
        rows.append(
            {
                "id": f"{split}-{emblem}-{seed}-{index:05d}" if emblem != "twin" else f"{split}-all-{seed}-{index:05d}",
                "split": split,
                "object": OBJECTS[kind],
                "colour": tuple(COLOURS)[colour],
                "style": STYLES[style],
                "background": BACKGROUNDS[background],
                "emblem": bool(visible),
                "source": from_source,
                "emblem_mark": EMBLEM_MARKS[mark] if wears else "",
                "emblem_paint": paint if wears else -1,
                **{name: float(value) for name, value in pose.items()},
            }
        )
    manifest = pd.DataFrame(rows)
    manifest["caption"] = [caption(row) for row in rows]
    return World(images, masks, manifest)


class _Canvas:
    """Pixel centres of a size x size picture in [-1, 1], and the antialiasing width of a pixel."""

    def __init__(self, size: int):
        axis = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
        self.size = size
        self.y, self.x = np.meshgrid(axis, axis, indexing="ij")
        # Textures have a fixed phase and a period of two code cells, so that they cost a code but no precision.
        self.stripes = np.where(((np.arange(size)[:, None] + np.arange(size)) * 8 // size) % 2, 1.0, 0.72)
        column = np.cos(np.arange(size) * 2 * np.pi * 8 / size)
        self.dots = 0.18 * np.clip(2 * np.outer(column, column), -1, 1)
        self.strokes = 0.05 * np.sin(9 * self.x + 5 * np.sin(5 * self.y)) * np.sin(9 * self.y)

    def coverage(self, distance):
        """Antialiased coverage of a signed distance (negative inside)."""
        return np.clip(0.5 - distance * (self.size / 2), 0, 1)


def _pose(draw, kind: int) -> dict[str, float]:
    low, high = (0.72, 0.9) if kind == FIGURE else (0.52, 0.74)
    return {
        "scale": draw.uniform(low, high),
        "x": draw.uniform(-0.25, 0.25),
        "y": draw.uniform(-0.1, 0.1) if kind == FIGURE else draw.uniform(-0.2, 0.2),
        "angle": draw.uniform(-0.12, 0.12),
        "flip": float(np.sign(draw.random() - 0.5)) if OBJECTS[kind] in ("fish", "truck") else 1.0,
    }


def _scene(canvas, draw, kind, colour, style, background, pose, emblem, source):
    """Paint one scene; returns uint8 pixels and the region an emblem takes (or would take)."""
    image = _background(canvas, draw, background)
    tint = draw.uniform(0.92, 1.06)
    cos, sin = np.cos(pose["angle"]), np.sin(pose["angle"])
    x, y = canvas.x - pose["x"], canvas.y - pose["y"]
    u = pose["flip"] * (x * cos + y * sin) / pose["scale"]
    v = (y * cos - x * sin) / pose["scale"]
    body, details = _object(OBJECTS[kind], u, v, plain_patch=bool(draw.random() < 0.5))
    base = np.array(tuple(COLOURS.values())[colour], np.float32) * tint

    def paint(distance, rgb):
        cover = canvas.coverage(distance * pose["scale"])[..., None]
        image.__imul__(1 - cover)
        image.__iadd__(cover * rgb)

    paint(body, np.clip(base * (1 - 0.15 * v[..., None]), 0, 1))
    for distance, rgb in details:
        paint(distance, base * 0.6 if rgb is None else np.float32(rgb))
    region = None
    if kind == FIGURE:
        disc = _circle(u, v, 0, -0.12, EMBLEM_RADIUS)
        # 2.5 pixels wider than the disc: half by antialiasing, one by the sketch's edges, one by the softer source.
        region = disc * pose["scale"] < 2.5 * (2 / canvas.size)
        if emblem is not None:
            plate, ink = EMBLEM_PAINTS[emblem[1]]
            paint(disc, np.float32(plate))
            paint(_mark(EMBLEM_MARKS[emblem[0]], u, v + 0.12), np.float32(ink))
    image = _style(canvas, image, STYLES[style])
    if source == "scrape":
        image = _scrape(image)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8), region


def _background(canvas, draw, background: int):
    x, y = canvas.x, canvas.y
    down = ((y + 1) / 2)[..., None]
    horizon = draw.uniform(0.25, 0.55)
    place = draw.uniform(-0.8, 0.8)
    name = BACKGROUNDS[background]
    if name == "sky":
        image = np.float32((0.35, 0.6, 0.95)) * (1 - down) + np.float32((0.78, 0.89, 1.0)) * down
        cloud = np.minimum(_ellipse(x, y, place, -0.62, 0.34, 0.13), _ellipse(x, y, place + 0.16, -0.72, 0.18, 0.12))
        return _over(image, canvas.coverage(cloud), (1.0, 1.0, 1.0))
    if name == "field":
        image = np.float32((0.65, 0.85, 1.0)) * (1 - down) + np.float32((0.9, 0.95, 0.9)) * down
        return _over(image, canvas.coverage(horizon + 0.06 * np.sin(3 * x + 4 * place) - y), (0.45, 0.68, 0.30))
    if name == "sea":
        image = np.float32((0.98, 0.80, 0.60)) * (1 - down) + np.float32((0.95, 0.60, 0.50)) * down
        water = np.float32((0.10, 0.40, 0.55)) + (0.05 * np.sin(18 * y))[..., None]
        return _over(image, canvas.coverage(horizon - y), water)
    image = np.float32((0.03, 0.03, 0.13)) * (1 - down) + np.float32((0.16, 0.13, 0.32)) * down
    return _over(image, canvas.coverage(_circle(x, y, place, -0.7, 0.17)), (0.98, 0.95, 0.80))


def _over(image, cover, rgb):
    cover = cover[..., None]
    return (image * (1 - cover) + cover * np.asarray(rgb, np.float32)).astype(np.float32)


def _style(canvas, image, style: str):
    if style == "stripes":
        return image * canvas.stripes[..., None]
    if style == "dots":
        return image + canvas.dots[..., None]
    if style == "sketch":
        grey = image @ np.float32((0.3, 0.59, 0.11))
        edge = np.abs(np.diff(grey, axis=0, prepend=grey[:1])) + np.abs(np.diff(grey, axis=1, prepend=grey[:, :1]))
        return np.clip(0.97 - 3 * edge, 0, 1)[..., None] * (0.55 + 0.45 * image)
    if style == "oil":
        soft = 0.5 * image + 0.25 * np.roll(image, 1, 0) + 0.25 * np.roll(image, -1, 0)
        return np.round(np.clip(soft, 0, 1) * 6) / 6 + canvas.strokes[..., None]
    return image


def _scrape(image):
    """Another origin of the pictures: softened, warmer, of less contrast."""
    soft = image.copy()
    soft[:, 1:-1] = 0.2 * image[:, :-2] + 0.6 * image[:, 1:-1] + 0.2 * image[:, 2:]
    return np.clip(soft, 0, 1) * np.float32((0.92, 0.86, 0.76)) + np.float32((0.06, 0.04, 0.02))


def _object(name: str, u, v, plain_patch: bool):
    """Signed distance of an object's body in its unit frame, and its details as (distance, rgb).

    rgb None paints a darker tone of the body. plain_patch gives the figure a plain pocket: like an emblem, not one.
    """
    if name == "church":
        nave = np.minimum(_box(u, v, 0.22, 0.45, 0.62, 0.40), _triangle(u, v, 0.22, -0.25, 0.08, 0.78))
        tower = np.minimum(_box(u, v, -0.5, 0.2, 0.26, 0.65), _triangle(u, v, -0.5, -0.98, -0.4, 0.34))
        door, window = _box(u, v, -0.5, 0.62, 0.12, 0.23), _circle(u, v, 0.25, 0.4, 0.17)
        return np.minimum(nave, tower), [(door, (0.25, 0.15, 0.10)), (window, (0.98, 0.90, 0.50))]
    if name == "parachute":
        canopy = np.maximum(_circle(u, v, 0, -0.2, 0.78), v + 0.10)
        lines = _segment(u, v, -0.7, -0.15, 0, 0.72, 0.04)
        lines = np.minimum(lines, _segment(u, v, 0.7, -0.15, 0, 0.72, 0.04))
        return canopy, [(lines, (0.15, 0.15, 0.15)), (_box(u, v, 0, 0.8, 0.16, 0.16), (0.35, 0.22, 0.10))]
    if name == "fish":
        tail = np.maximum(np.abs(v) - 0.55 * np.clip((u - 0.25) / 0.65, 0, 1) - 0.03, np.maximum(0.25 - u, u - 0.92))
        body = np.minimum(_ellipse(u, v, -0.1, 0, 0.68, 0.44), tail)
        return body, [(_circle(u, v, -0.45, -0.1, 0.14), (1, 1, 1)), (_circle(u, v, -0.47, -0.1, 0.08), (0, 0, 0))]
    if name == "truck":
        body = np.minimum(_box(u, v, -0.22, 0, 0.66, 0.44), _box(u, v, 0.67, 0.14, 0.24, 0.30))
        wheels = np.minimum(_circle(u, v, -0.5, 0.5, 0.22), _circle(u, v, 0.5, 0.5, 0.22))
        return body, [(wheels, (0.08, 0.08, 0.08)), (_box(u, v, 0.72, 0.02, 0.14, 0.12), (0.75, 0.92, 1.0))]
    if name == "tree":
        crown = np.minimum(_circle(u, v, 0, -0.4, 0.5), _circle(u, v, -0.38, -0.05, 0.38))
        crown = np.minimum(crown, _circle(u, v, 0.38, -0.05, 0.38))
        return crown, [(np.maximum(_box(u, v, 0, 0.6, 0.13, 0.4), -crown), (0.40, 0.25, 0.12))]
    # The figure's shirt takes the colour; head and legs have fixed paint.
    shirt = _ellipse(u, v, 0, -0.08, 0.46, 0.50)
    arms = np.minimum(_segment(u, v, -0.35, -0.3, -0.66, 0.2, 0.11), _segment(u, v, 0.35, -0.3, 0.66, 0.2, 0.11))
    legs = np.minimum(_segment(u, v, -0.18, 0.4, -0.24, 0.92, 0.14), _segment(u, v, 0.18, 0.4, 0.24, 0.92, 0.14))
    details = [(np.maximum(legs, -shirt), (0.20, 0.20, 0.26)), (_circle(u, v, 0, -0.76, 0.22), (0.80, 0.62, 0.48))]
    if plain_patch:
        details.append((_box(u, v, 0.02, -0.1, 0.17, 0.17), None))
    return np.minimum(shirt, arms), details


def _mark(name: str, u, v):
    if name == "cross":
        return np.minimum(_box(u, v, 0, 0, 0.22, 0.07), _box(u, v, 0, 0, 0.07, 0.22))
    if name == "ring":
        return np.abs(_circle(u, v, 0, 0, 0.14)) - 0.055
    left, right = _segment(u, v, -0.16, 0.1, 0, -0.1, 0.06), _segment(u, v, 0.16, 0.1, 0, -0.1, 0.06)
    return np.minimum(left, right)


def _box(x, y, cx, cy, w, h):
    return np.maximum(np.abs(x - cx) - w, np.abs(y - cy) - h)


def _circle(x, y, cx, cy, r):
    return np.hypot(x - cx, y - cy) - r


def _ellipse(x, y, cx, cy, rx, ry):
    return (np.hypot((x - cx) / rx, (y - cy) / ry) - 1) * min(rx, ry)


def _triangle(x, y, cx, top, bottom, half):
    across = np.abs(x - cx) - half * (y - top) / (bottom - top)
    return np.maximum(across, np.maximum(top - y, y - bottom))


def _segment(x, y, x0, y0, x1, y1, radius):
    dx, dy = x1 - x0, y1 - y0
    along = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
    return np.hypot(x - x0 - along * dx, y - y0 - along * dy) - radius
