"""Concepts of the scenes, the prompts that ask for them or not, and whether a picture shows them.

A concept is a value of a factor: an object, a style, or the emblem. Its anchor is what an edit puts in its place:
another value, or nothing; an object that is not named is a thing, which may be any. Prompts of a training are of the
combinations that the model was trained on, those of a judgement of combinations that it never saw.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from palimpsest.run import UserError
from palimpsest.worlds.captions import SYNONYMS, TEMPLATES, THING, caption
from palimpsest.worlds.scenes import FACTORS, combinations

EMBLEM = "emblem"
ALL = "all"  # the concept of measurements over several together, each with as many prompts
WITH_ORACLE = "with_oracle"  # the same over those that there is an oracle of: what is set beside it is of these
# What prompts of a judgement ask for: the concept by its name, by another word, by other templates; the same without
# it; its nearest relatives (other values of its factor, which for the emblem are figures without one); anything else.
ROLES = ("own", "synonym", "template", "unnamed", "neighbour", "rest")
SHOWING = ("own", "synonym", "template")


@dataclass(frozen=True)
class Concept:
    """factor and value: as a manifest has them, ("emblem", "emblem") for the emblem; anchor: another value, or ""."""

    name: str
    factor: str
    value: str
    anchor: str = ""

    def __post_init__(self):
        """Raise UserError for a factor, a value or an anchor that the scenes do not have."""
        known = {**FACTORS, EMBLEM: (EMBLEM,)}
        if self.factor not in known:
            raise UserError(f"concept {self.name}: no factor {self.factor!r}; there are {', '.join(known)}")
        if self.value not in known[self.factor]:
            raise UserError(f"concept {self.name}: {self.factor} is never {self.value!r}")
        if self.anchor == self.value:
            raise UserError(f"concept {self.name}: its anchor is the concept itself. Give another, or leave it out")
        if self.anchor and self.anchor not in FACTORS.get(self.factor, ()):
            raise UserError(f"concept {self.name}: the anchor {self.anchor!r} is no {self.factor}")

    def rows(self, split: str, rng: np.random.Generator) -> pd.DataFrame:
        """The split's combinations that show the concept, in a random order."""
        table = scenes_of(split)
        if self.factor == EMBLEM:
            return shuffled(table[table["object"] == "figure"].assign(emblem=True), rng)
        return shuffled(table[table[self.factor] == self.value], rng)

    def others(self, split: str, rng: np.random.Generator) -> pd.DataFrame:
        """Those that do not show it; half of the figures wear an emblem, unless it is the concept."""
        table = scenes_of(split)
        if self.factor == EMBLEM:
            return shuffled(table, rng)
        table = shuffled(table[table[self.factor] != self.value], rng)
        return table.assign(emblem=(table["object"] == "figure") & (np.arange(len(table)) % 2 == 0))

    def neighbours(self, split: str, rng: np.random.Generator) -> pd.DataFrame:
        """Nearest relatives: the concept's combinations with other values of its factor; figures without an emblem."""
        table = self.others(split, rng)
        if self.factor == EMBLEM:
            return table[table["object"] == "figure"]
        return table if self.factor == "object" else table[table[self.factor] != "flat"]

    def without(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows without the concept, and nothing named in its place."""
        return rows.assign(**{self.factor: {"object": THING, "style": "flat", EMBLEM: False}.get(self.factor, "")})

    def anchored(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows with the anchor in the concept's place."""
        return rows.assign(**{self.factor: self.anchor}) if self.anchor else self.without(rows)

    def shown_by(self, rows: pd.DataFrame) -> np.ndarray:
        """Which rows of a manifest show the concept (n,)."""
        column = rows[self.factor]
        return column.to_numpy(bool) if self.factor == EMBLEM else (column == self.value).to_numpy()

    def shown(self, factors: dict[str, np.ndarray], emblems: np.ndarray) -> np.ndarray:
        """Which pictures show the concept (n,), by what judges read: a value of each factor, and emblems (n,) bool."""
        return emblems if self.factor == EMBLEM else factors[self.factor] == FACTORS[self.factor].index(self.value)

    @property
    def censored(self) -> bool:
        """Whether what is drawn of it may only be shown blurred: nothing of the scenes."""
        return False

    @property
    def naming(self) -> set[str]:
        """The words that name the concept."""
        return {self.value, SYNONYMS[self.value]}

    def words(self, prompts: list[str]) -> list[list[str]]:
        """The words of each prompt that name the concept."""
        return occurring(prompts, self.naming)

    def alone(self) -> list[str]:
        """Prompts that name the concept and nothing else, by every template: whatever wears or has it is a thing."""
        bare = {"object": THING, "colour": "", "style": "flat", "background": "", EMBLEM: False}
        return [caption(bare | {self.factor: self.value}, template) for template in range(TEMPLATES)]

    def anchor_words(self, prompts: list[str]) -> list[list[str]]:
        """Those that name the anchor: none where it leaves the concept out."""
        return occurring(prompts, {self.anchor} - {"", "flat"})


def occurring(prompts: list[str], words: set[str]) -> list[list[str]]:
    """Which of the words each prompt has."""
    return [[word for word in prompt.replace(",", " ").split() if word in words] for prompt in prompts]


def scenes_of(split: str) -> pd.DataFrame:
    """Every combination of a split as rows of a manifest, without emblems."""
    picks = combinations(split)
    columns = {name: np.array(values)[picks[:, place]] for place, (name, values) in enumerate(FACTORS.items())}
    return pd.DataFrame(columns).assign(emblem=False)


def shuffled(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Rows in a random order."""
    return rows.iloc[rng.permutation(len(rows))].reset_index(drop=True)


def some(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """So many rows, from the first on, again from the first where there are fewer."""
    return rows.iloc[np.arange(count) % len(rows)].reset_index(drop=True)


def with_prompts(rows: pd.DataFrame, template: int = 0, words: dict[str, str] | None = None) -> pd.DataFrame:
    """The rows with the column `prompt`."""
    return rows.assign(prompt=[caption(row, template, words or {}) for row in rows.to_dict("records")])


def judging_prompts(concept: Concept, counts: dict[str, int], seed: int) -> pd.DataFrame:
    """Prompts by role (ROLES) with what they ask for, and the number of the noise that each starts from.

    counts: how many of each role. Prompts of the concept by whatever word are of the same scenes, from the same noise.
    """
    parts = []
    for role in ROLES:
        kind = {"neighbour": concept.neighbours, "rest": concept.others}.get(role, concept.rows)
        stream = {"neighbour": 1, "rest": 2}.get(role, 3)
        rows = some(kind("test", np.random.default_rng((seed, stream))), counts[role])
        if role == "synonym":
            rows = with_prompts(rows, words={concept.value: SYNONYMS[concept.value]})
        elif role == "template":
            halves = [with_prompts(rows.iloc[n::2], template) for n, template in enumerate(range(1, TEMPLATES))]
            rows = pd.concat(halves).sort_index()
        elif role == "unnamed":
            rows = with_prompts(concept.without(rows))
        else:
            rows = with_prompts(rows)
        parts.append(rows.assign(role=role, noise=np.arange(len(rows)) + 10_000 * (role == "rest")))
    return pd.concat(parts, ignore_index=True).assign(concept=concept.name)


def training_prompts(concept: Concept, count: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Prompts that name the concept, by all templates, and row by row the same with its anchor.

    The former have the column `bare`: the same prompts without the concept.
    """
    rows = some(concept.rows("train", np.random.default_rng((seed, 0))), count)
    parts = [rows.iloc[template::TEMPLATES] for template in range(TEMPLATES)]

    def prompted(change: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
        return pd.concat([with_prompts(change(part), number) for number, part in enumerate(parts)]).sort_index()

    bare = prompted(concept.without)["prompt"]
    return prompted(lambda part: part).assign(bare=bare), prompted(concept.anchored)
