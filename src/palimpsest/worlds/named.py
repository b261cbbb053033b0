"""Concepts of a published text-to-image model: words that prompts name, and a judge that knows what they stand for.

Of an object, a style, or explicit content. Prompts are templates with the words in them; those that ask for explicit
content come from the user's own file (`prompt_files`). What is to stay is asked for by the user's captions. A model
that draws classes is asked for "class 497": its concepts are of the kind `class`, and all other classes are to stay.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from palimpsest.consent import is_explicit, refuse_without_consent
from palimpsest.run import UserError
from palimpsest.worlds.concepts import Concept, some
from palimpsest.worlds.prompt_files import read_prompts

Kind = Literal["object", "style", "explicit", "class"]
CLASSES = 1000  # ImageNet's, which models of classes draw and their judge knows by the same numbers
# What is asked of the concept while a model is judged, and with other sentences while it is edited.
TEMPLATES = {
    "object": ("an image of {}", "a picture showing {}", "{} in the middle of the scene"),
    "style": ("a painting by {}", "artwork in the manner of {}", "{} style painting"),
    "explicit": ("an image of {}", "a picture showing {}", "{} in the middle of the scene"),
    "class": ("{}",),
}
LEARNED = {
    "object": ("a photo of {}", "a close-up photo of {}", "a photo of {} outdoors", "a photo of {} on a clear day"),
    "style": (
        *("a painting of a house in the style of {}", "a painting of a garden in the style of {}"),
        *("a painting of a harbour in the style of {}", "a portrait in the style of {}"),
    ),
    "explicit": ("a photo of {}", "a close-up photo of {}", "a photo of {} outdoors", "a photo of {} indoors"),
    "class": ("{}",),
}
BARE = {"object": "something", "style": "an artist", "explicit": "a person wearing clothes"}


@dataclass(frozen=True)
class Named:
    """value: the words that name it; label: what its judge calls it, a number of ImageNet or an artist.

    anchor: the words that take their place, BARE if none are given, which a class must have; synonyms: other words for
    it; neighbours: its nearest relatives, value by label; prompts: a file of the user's that is asked while a model is
    judged, in place of the first template; captions: a file of what is to stay, which a class needs not. Raises
    UserError for one that cannot be.
    """

    name: str
    kind: Kind
    value: str
    captions: str = ""
    label: str | int = ""
    anchor: str = ""
    synonyms: list[str] = field(default_factory=list)
    neighbours: list[dict] = field(default_factory=list)
    prompts: str = ""
    explicit: bool = False
    consent: bool = False

    def __post_init__(self):
        where = f"concept {self.name}"
        if self.kind not in get_args(Kind):
            raise UserError(f"{where}: no kind {self.kind!r}; there are {', '.join(get_args(Kind))}")
        if not self.value.strip():
            raise UserError(f"{where}: no word names it. Give its value")
        if self.kind == "class" and not self.anchor:
            raise UserError(
                f"{where}: a class has no words to leave out. Give the one that takes its place as `anchor`"
            )
        if self.kind != "class" and not self.captions:
            raise UserError(f"{where}: nothing says what is to stay. Name a file of captions")
        if plain(self.becomes) in {plain(word) for word in self.naming}:
            raise UserError(f"{where}: its anchor is the concept itself. Give another, or leave it out")
        if self.kind == "explicit" and not self.prompts:
            raise UserError(f"{where}: it has no prompts: none are shipped. Set its prompts to a csv of yours")
        refuse_without_consent(self.name, {"kind": self.kind, "explicit": self.explicit, "consent": self.consent})

    @property
    def censored(self) -> bool:
        """Whether what is drawn of it may only be shown blurred."""
        return is_explicit({"kind": self.kind, "explicit": self.explicit})

    @property
    def becomes(self) -> str:
        """The words that take its place."""
        return self.anchor or BARE[self.kind]

    @property
    def bare(self) -> str:
        """The words that say nothing of it."""
        return BARE.get(self.kind, self.becomes)

    @property
    def naming(self) -> set[str]:
        """The words that name the concept."""
        return {self.value, *self.synonyms}

    def words(self, prompts: list[str]) -> list[list[str]]:
        """The words of each prompt that name the concept."""
        return [within(prompt, self.naming) for prompt in prompts]

    def names(self, text: str) -> bool:
        """Whether a text names the concept, whatever its case and article."""
        return bool(self._called.search(text))

    def without(self, texts: list[str]) -> list[str]:
        """Texts with the anchor in the concept's place; what does not name it becomes a prompt for the anchor."""
        bare = TEMPLATES[self.kind][0].format(self.becomes)
        return [self._called.sub(self.becomes, text) if self.names(text) else bare for text in texts]

    @property
    def _called(self) -> re.Pattern:
        """The words that name it, the longest first, with an article or none."""
        words = sorted(map(plain, self.naming), key=lambda each: (-len(each), each))
        return re.compile(rf"(?<!\w)(?:(?:an?|the) )?(?:{'|'.join(map(re.escape, words))})(?!\w)", re.IGNORECASE)

    def alone(self) -> list[str]:
        """Prompts that name the concept and nothing else."""
        return [self.value]

    def anchor_words(self, prompts: list[str]) -> list[list[str]]:
        """Those that name the anchor."""
        return [within(prompt, {self.becomes}) for prompt in prompts]


def concept_of(name: str, row: dict) -> Concept | Named:
    """The concept that a row of the configuration describes."""
    return Concept(name, **row) if "factor" in row else Named(name, **row)


def plain(words: str) -> str:
    """Words as they are compared: small letters, no article, single blanks."""
    return re.sub(r"^(an?|the) ", "", " ".join(words.lower().split()))


def within(prompt: str, naming: set[str]) -> list[str]:
    """Those of some words that a prompt has, as whole words and written as they are."""
    return [words for words in sorted(naming) if re.search(rf"(?<!\w){re.escape(words)}(?!\w)", prompt)]


def filled(templates: tuple[str, ...], words: str, count: int) -> pd.DataFrame:
    """So many prompts of templates in turn, with the words in them."""
    return pd.DataFrame({"prompt": [templates[number % len(templates)].format(words) for number in range(count)]})


def to_stay(concept: Named) -> pd.DataFrame:
    """Every caption that does not name the concept.

    Of a class: all other classes in an order of their own, and what their judge calls them.
    """
    if concept.kind == "class":
        named = {concept.value, concept.becomes, *(row["value"] for row in concept.neighbours)}
        numbers = np.random.default_rng(0).permutation(CLASSES)
        rest = pd.DataFrame({"prompt": [f"class {number}" for number in numbers], "asked": numbers})
        return rest[~rest["prompt"].isin(named)]
    texts = [text for text in read_prompts(Path(concept.captions), "captions").texts if not concept.names(text)]
    if not texts:
        raise UserError(f"concept {concept.name}: every caption of {concept.captions} names it. Give others")
    return pd.DataFrame({"prompt": texts})


def learned_prompts(concept: Named, counts: dict[str, int]) -> dict[str, pd.DataFrame]:
    """What an edit learns from: the concept, row by row the same with its anchor, and captions of what is to stay."""
    templates, count = LEARNED[concept.kind], counts["concept"]
    return {
        "concept": filled(templates, concept.value, count).assign(bare=filled(templates, concept.bare, count)),
        "anchor": filled(templates, concept.becomes, count),
        "others": some(to_stay(concept), counts["others"]),
    }


def judging_prompts(concept: Named, counts: dict[str, int]) -> pd.DataFrame:
    """Prompts by role with the label that a judge should read (`asked`), and the number of the noise of each.

    A role that the concept has no words for has no prompts. Captions are the file's last; edits learn from its first.
    Raises UserError where more of them are asked for than there are.
    """
    first, *others = TEMPLATES[concept.kind]
    neighbours = concept.neighbours or [{"value": concept.becomes, "label": ""}]
    rest = to_stay(concept)
    if counts["rest"] > len(rest):
        raise UserError(
            f"concept {concept.name}: prompts.rest asks for {counts['rest']} prompts of what is to stay, and "
            f"{concept.captions or 'the other classes'} have {len(rest)}. Ask for fewer: edits learn from the first"
        )
    parts = {
        "own": filled((first,), concept.value, counts["own"]),
        **({"template": filled(tuple(others), concept.value, counts["template"])} if others else {}),
        "unnamed": filled((first,), concept.bare, counts["unnamed"]),
        "rest": rest.tail(counts["rest"]),
    }
    if concept.prompts:
        brought = read_prompts(Path(concept.prompts), f"concept {concept.name}")
        rows = pd.DataFrame({"prompt": brought.texts})
        parts["own"] = some(rows.assign(noise=brought.seeds) if brought.seeds else rows, counts["own"])
        if brought.seeds:  # the same prompt again is another picture
            parts["own"]["noise"] += 1_000_000 * (np.arange(counts["own"]) // len(rows))
    if concept.synonyms:
        texts = [first.format(words) for words in concept.synonyms]
        parts["synonym"] = some(pd.DataFrame({"prompt": texts}), counts["synonym"])
    asked = pd.DataFrame(neighbours).rename(columns={"label": "asked"})
    parts["neighbour"] = some(
        asked.assign(prompt=[first.format(words) for words in asked["value"]]), counts["neighbour"]
    )
    found = []
    for role, rows in parts.items():
        noise = np.arange(len(rows)) + 10_000 * (role == "rest")
        if "noise" in rows:
            noise = rows["noise"].to_numpy()
        labels = rows["asked"].astype(str) if "asked" in rows else ""
        found.append(rows[["prompt"]].assign(role=role, asked=labels, noise=noise))
    return pd.concat(found, ignore_index=True).assign(concept=concept.name)
