"""The language of the scenes: captions by three templates, with a synonym for every word that carries a meaning.

A model that draws scenes from text is trained on all of it, so that an attack by another word or another order of words
means something. The first template is the caption that a scene's manifest has.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

SYNONYMS = {
    "church": "cathedral",
    "parachute": "chute",
    "fish": "carp",
    "truck": "lorry",
    "tree": "oak",
    "figure": "person",
    "red": "crimson",
    "yellow": "golden",
    "green": "emerald",
    "blue": "azure",
    "purple": "violet",
    "white": "pale",
    "flat": "plain",
    "stripes": "striped",
    "dots": "dotted",
    "sketch": "drawn",
    "oil": "painted",
    "sky": "air",
    "field": "meadow",
    "sea": "ocean",
    "night": "dark",
    "emblem": "badge",
}
THING = "thing"  # an object that is not named
OTHER_WORDS = ("a", "an", "and", "in", "of", "picture", "style", "the", "wearing", "with", THING)
WORDS = tuple(sorted({*SYNONYMS, *SYNONYMS.values(), *OTHER_WORDS}))
TEMPLATES = 3
# How training captions differ from the manifest's: shares of those with synonyms, of another template, with parts left
# out, and of the object among those; and how often the flat style, which the manifest's do not name, is not named.
SYNONYM_SHARE, OTHER_TEMPLATE_SHARE, PARTIAL_SHARE, UNNAMED_SHARE, UNNAMED_FLAT_SHARE = 0.5, 0.4, 0.2, 0.25, 0.7


def caption(row: Mapping, template: int = 0, words: Mapping[str, str] = MappingProxyType({})) -> str:
    """The caption of a manifest row (object, colour, style, background, emblem) by a template, 0 to 2.

    A part that is "" is left out. words: how values are written that are not written as they are called; the flat style
    is written only where they say how. Template 0 without words is the manifest's caption.
    """
    colour, thing, style, background = (
        words.get(row[name], row[name]) for name in ("colour", "object", "style", "background")
    )
    emblem = words.get("emblem", "emblem") if row["emblem"] else ""
    if row["style"] == "flat" and "flat" not in words:
        style = ""
    named = f"{colour} {thing}".strip()
    if template == 0:
        wearing = f" wearing {with_article(emblem)}" if emblem else ""
        place = f" in the {background}" if background else ""
        return f"{with_article(named)}{wearing}{place}" + (f", {style} style" if style else "")
    if template == 1:
        carried = f" with {with_article(emblem)}" if emblem else ""
        return ", ".join(part for part in (background, f"{style} style" if style else "", named + carried) if part)
    if template == 2:
        wearing = f" and {with_article(emblem)}" if emblem else ""
        place = f" with the {background}" if background else ""
        return f"{style} picture of the {named}{wearing}{place}".strip()
    raise ValueError(f"template is {template}: give 0 to {TEMPLATES - 1}")


def with_article(words: str) -> str:
    """Words after "a" or "an"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def drawn_caption(row: Mapping, rng: np.random.Generator) -> str:
    """A caption for training: with synonyms, by another template, with parts left out, each now and then."""
    shown, words = dict(row), {}
    if rng.random() < SYNONYM_SHARE:
        words = {name: other for name, other in SYNONYMS.items() if rng.random() < 0.5}
    if rng.random() < PARTIAL_SHARE:
        for name in ("colour", "background"):
            if rng.random() < 0.5:
                shown[name] = ""
        if not row["emblem"] and rng.random() < UNNAMED_SHARE:
            shown["object"] = THING
    words.pop("flat", None)
    if rng.random() >= UNNAMED_FLAT_SHARE:
        words["flat"] = ("flat", SYNONYMS["flat"])[int(rng.integers(2))]
    template = int(rng.integers(1, TEMPLATES)) if rng.random() < OTHER_TEMPLATE_SHARE else 0
    return caption(shown, template, words)
