"""What judges read in pictures of an edited model: the concept by any word, its neighbours, the rest.

Every model draws the same prompts from the same noise, so that its pictures are compared with the base's one by one.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from palimpsest.judges.readers import Judges
from palimpsest.metrics.censor import publishable
from palimpsest.metrics.distribution import frechet, kernel_distance
from palimpsest.metrics.measurements import mean_of, row, share_of
from palimpsest.models.text_to_image import draw
from palimpsest.worlds.concepts import ALL, ROLES, SHOWING, WITH_ORACLE, Concept
from palimpsest.worlds.named import Named, concept_of

SHOWN = 6  # pictures of each role that figures show
TWICE = 8  # prompts by name of which a second picture is drawn
ANEW = 500_000  # how far the number of its noise is from the first's
# Of a model and rows of prompts; of a model, a concept and the rows: pictures (n, H, W, 3) uint8, by attack.
Draw = Callable[[Any, pd.DataFrame], np.ndarray]
Attack = Callable[[Any, Concept | Named, pd.DataFrame], Mapping[str, np.ndarray]]


def drawing(sampling: dict, seed: int) -> Draw:
    """How models draw rows of prompts, each from the noise of its number. sampling: settings of the kind of model."""

    def drawn(model: Any, rows: pd.DataFrame) -> np.ndarray:
        return draw(model, list(rows["prompt"]), rows["noise"].to_numpy(), **sampling, seed=seed)

    return drawn


class Judging:
    """Judges edited models one after the other, and keeps what is to be written of all of them.

    prompts: with their role, what they ask for and the number of their noise; before: what the base drew for them,
    by concept; concepts: factor, value and anchor by name; pooled: those that are also measured together, and
    attacked where there is an attack; oracles: those of them that there is an oracle of, which are measured
    together too; roles: of the prompts that are judged; data: a file of real pictures (n, H, W, 3) uint8, which the
    distances between sets are measured to as well, where the rest is judged.
    """

    def __init__(
        self,
        readers: Judges,
        prompts: pd.DataFrame,
        before: Mapping[str, np.ndarray],
        concepts: dict,
        pooled: list[str],
        draw: Draw,
        attack: Attack | None = None,
        roles: Sequence[str] = ROLES,
        oracles: Sequence[str] = (),
        data: Path | None = None,
    ):
        self.readers, self.prompts, self.before, self.concepts = readers, prompts, before, concepts
        self.groups = {ALL: pooled, WITH_ORACLE: [name for name in pooled if name in oracles]}
        self.draw, self.attack, self.roles = draw, attack, roles
        compared = data is not None and "rest" in roles
        self.data = readers.features(np.load(data, mmap_mode="r")) if compared else None
        self.found, self.panel = defaultdict(lambda: defaultdict(list)), {}

    def judge(self, model: Any, name: str, method: str, setting: str, seed: int, *, unchanged: bool = False) -> None:
        """Let a model draw the prompts of a concept, and read what it drew; unchanged: the base, which drew them."""
        rows = self.prompts[self.prompts["concept"] == name]
        asked = rows["role"].isin(self.roles).to_numpy()
        rows, before = rows[asked].reset_index(drop=True), self.before[name][asked]
        made, concept = before if unchanged else self.draw(model, rows), concept_of(name, self.concepts[name])
        found = self.readers.compare(concept, rows, made, before) | self.redrawn(model, rows, made)
        if self.attack is not None and name in self.groups[ALL]:
            found |= self.recovered(model, concept, rows, found)
        for key, values in found.items():
            for label in (name, *(group for group, members in self.groups.items() if name in members)):
                self.found[method, label, setting, seed][key].append(values)
        picks = rows.groupby("role").head(SHOWN).index.to_numpy()
        # Censored here: what is not in the file can be shown by no figure and no notebook.
        self.panel[f"{method}.{name}.{setting}.{seed}"] = publishable(made[picks], explicit=concept.censored)
        self.panel["roles"] = rows["role"].to_numpy(str)[picks]

    def redrawn(self, model: Any, rows: pd.DataFrame, made: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
        """How far a second picture of a prompt that names the concept, from other noise, is from the first.

        Zero of a model that has but one picture for a prompt, whatever the noise.
        """
        places = np.flatnonzero(rows["role"] == "own")[:TWICE]
        if not (self.readers.compares and len(places)):
            return {}
        again = self.draw(model, rows.iloc[places].assign(noise=lambda first: first["noise"] + ANEW))
        return {("redrawn", "own"): self.readers.distance(made[places], again)}

    def recovered(
        self,
        model: Any,
        concept: Concept | Named,
        rows: pd.DataFrame,
        found: dict[tuple[str, str], np.ndarray],
    ) -> dict[tuple[str, str], np.ndarray]:
        """Which pictures show the concept, by attack: as `compare` gives outcomes; found: of the prompts themselves."""
        shows = {("recovered", role): ~found["erased", role] for role in SHOWING if ("erased", role) in found}
        for name, pictures in self.attack(model, concept, rows).items():
            shows["recovered", name] = self.readers.shows(concept, pictures)
        return shows

    def measurements(self) -> list[dict]:
        """A line for each model, concept, metric and role of prompts."""
        return [
            {**line, **dict(zip(("method", "concept", "setting", "seed"), labels, strict=True))}
            for labels, values in self.found.items()
            for line in summary(values, self.data)
        ]


def summary(values: Mapping[tuple[str, str], list[np.ndarray]], data: np.ndarray | None = None) -> list[dict]:
    """A measurement of each metric and role; intervals over prompts. values: an array of each concept.

    data: features (n, d) of real pictures. Distances to them are the mean of the concepts' own: several concepts may
    have the same prompts and noise, and pictures that repeat would bias the distance of all at once.
    """
    lines = []
    for (metric, role), parts in values.items():
        each = np.concatenate(parts)
        if each.ndim == 1:
            lines.append((share_of if each.dtype == bool else mean_of)(metric, each, prompts=role))
        elif metric == "features":
            before, labels = np.concatenate(values["features_before", role]), {"prompts": role, "n": len(each)}
            lines.append(row("frechet", frechet(each, before), **labels))
            lines.append(row("kernel", kernel_distance(each, before, paired=True), **labels))
            if data is not None:
                for name, distance in (("frechet_data", frechet), ("kernel_data", kernel_distance)):
                    lines.append(row(name, float(np.mean([distance(part, data) for part in parts])), **labels))
    return lines
