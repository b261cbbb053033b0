"""What methods for next-scale models may see: rollouts of a concept's pairs and of the rest, or of several concepts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from palimpsest.models.var import Var
from palimpsest.models.words import named_tokens
from palimpsest.run import UserError
from palimpsest.unlearning.context import Conditioning, Context
from palimpsest.unlearning.rollouts import Rollouts, unpacked
from palimpsest.worlds.concepts import Concept
from palimpsest.worlds.named import Named

SAME = 0.05  # nats: what is kept is in half precision
KEPT, MISSING, REMAINS = "kept", "missing", "remains"  # what the judge says of a pair
# What is known of the prompts of several concepts, one after the other.
CONDITIONS = ("concept", "others", "anchors", "named", "alone", "anchors_named")


def kept_rows(table: pd.DataFrame, name: str, role: str) -> pd.DataFrame:
    """The rows of a concept's prompts of a role ("pair", "others") that the judge kept, in the rollouts' order."""
    return table[(table["concept"] == name) & (table["role"] == role) & (table["verdict"] == KEPT)]


def by_pair(values: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Of values of kept rollouts (n,) the mean of each pair's (m,): its rollouts are of the same prompts.

    pairs (n,): of which each rollout is.
    """
    return pd.Series(values).groupby(pairs).mean().to_numpy()


def first_of(numbers: np.ndarray, pairs: int | None, rollouts: int | None) -> np.ndarray:
    """Which rows have so many pairs, and so many rollouts of each: the first that were kept; all, where none are given.

    numbers (n,): the pair of each row.
    """
    each = pd.Series(numbers)
    nth = each.groupby(each).cumcount()
    return np.flatnonzero((each.rank(method="dense") <= (pairs or np.inf)) & (nth < (rollouts or np.inf)))


def kept_rollouts(base: Var, name: str, source: Path, drawn: Mapping, table: pd.DataFrame) -> tuple[Rollouts, Rollouts]:
    """The rollouts of a concept's kept pairs, and of the rest. Raises UserError where they are of another model."""
    pairs, others = (kept_rows(table, name, role) for role in ("pair", "others"))
    if pairs.empty or others.empty:
        raise UserError(f"concept {name}: {source} has no pairs, or none of the rest. Draw them again")
    found = []
    for role, asked, safe in (("pairs", pairs, pairs["anchor"]), ("others", others, others["prompt"])):
        prefix = f"{name}.{role}."
        parts = {key.removeprefix(prefix): drawn[key] for key in drawn if key.startswith(prefix)}
        ids = base.ids(list(asked["prompt"])), base.ids(list(safe))
        try:
            found.append(unpacked(parts, base.visual.quantiser, *ids))
        except ValueError as error:
            raise UserError(
                f"concept {name}: {error}. The rollouts beside {source} are not of {base.folder}: draw them again"
            ) from None
    if (gap := distance(base, found[0].at(np.arange(1)))) > SAME:
        raise UserError(
            f"concept {name}: the rollouts beside {source} are those of another model than {base.folder}: what it says "
            f"of their tokens differs by {gap:.2g} nats. Draw them again"
        )
    return found[0], found[1]


@torch.no_grad()
def distance(base: Var, pairs: Rollouts) -> float:
    """By how much a model's log-probabilities differ from those that are kept, of the safe prompts; a mean, in nats."""
    said = base.network(pairs.safe, pairs.inputs).float().log_softmax(-1)
    return float((said - pairs.plain.float().log_softmax(-1)).abs().mean())


def context_of(base: Var, concept: Concept | Named, source: Path, drawn: Mapping, table: pd.DataFrame) -> Context:
    """What the methods may see: rollouts of pairs and of the rest, and prompts."""
    pairs, others = kept_rollouts(base, concept.name, source, drawn, table)
    rows = kept_rows(table, concept.name, "pair")
    prompts = {"concept": list(rows["prompt"]), "anchor": list(rows["anchor"])}
    words = concept.words(prompts["concept"])
    return Context(
        "var",
        target=pairs,
        remember=others,
        timesteps=1,
        frozen=base.network,
        conditioning=Conditioning(
            concept=pairs.asked,
            none=None,
            others=others.asked,
            anchors=pairs.safe,
            named=named_tokens(base, prompts["concept"], words),
            alone=base.ids(concept.alone()),
            anchors_named=named_tokens(base, prompts["anchor"], concept.anchor_words(prompts["anchor"])),
        ),
        bounds=None,
    )


@dataclass(frozen=True)
class Learned:
    """All that a study's methods learn from: each concept's context, the numbers of its pairs, the rest's prompts."""

    concepts: Mapping[str, Concept | Named]
    contexts: Mapping[str, Context]
    pairs: Mapping[str, np.ndarray]
    rest: Mapping[str, list[str]]

    @classmethod
    def read(
        cls, base: Var, concepts: Mapping[str, Concept | Named], source: Path, drawn: Mapping, table: pd.DataFrame
    ) -> "Learned":
        """Of what `pairs` wrote: its prompts, from a file for messages, and rollouts."""
        contexts = {name: context_of(base, concept, source, drawn, table) for name, concept in concepts.items()}
        numbers = {name: kept_rows(table, name, "pair")["pair"].to_numpy() for name in concepts}
        rest = {name: list(kept_rows(table, name, "others")["prompt"]) for name in concepts}
        return cls(concepts, contexts, numbers, rest)

    def of(
        self, names: list[str], pairs: int | None = None, rollouts: int | None = None, others: int | None = None
    ) -> Context:
        """What methods may see of some concepts at once: the first pairs of each, and of the rest what names none.

        pairs, rollouts, others: how many pairs of each concept, rollouts of each pair and prompts of the rest.
        """
        parts = []
        for name in names:
            found = np.any([[bool(each) for each in self.concepts[one].words(self.rest[name])] for one in names], 0)
            whole = self.contexts[name]
            target = whole.target.at(first_of(self.pairs[name], pairs, rollouts))
            parts.append(replace(whole, target=target, remember=whole.remember.at(np.flatnonzero(~found)[:others])))
        return joined(parts)


def joined(contexts: list[Context]) -> Context:
    """What methods may see of several concepts at once."""
    found = contexts[0]
    for each in contexts[1:]:
        one, two = found.conditioning, each.conditioning
        given = {name: torch.cat([getattr(one, name), getattr(two, name)]) for name in CONDITIONS}
        found = replace(
            found,
            target=each.target.after(found.target),
            remember=each.remember.after(found.remember),
            conditioning=replace(one, **given),
        )
    return found
