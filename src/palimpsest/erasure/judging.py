"""What judges read in pictures of an edited model: the concept by any word, its neighbours, the rest.

Every model draws the same prompts from the same noise, so that its pictures are compared with the base's one by one.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from palimpsest.erasure.attacks import Attacker
from palimpsest.judges.readers import Judges
from palimpsest.metrics.censor import publishable
from palimpsest.metrics.distribution import frechet, kernel_distance
from palimpsest.metrics.intervals import bootstrap, wilson
from palimpsest.metrics.measurements import row
from palimpsest.models import autoencoder
from palimpsest.models.text_diffusion import TextDiffusion, draw
from palimpsest.worlds.concepts import ALL, ROLES, SHOWING, Concept
from palimpsest.worlds.named import Named, concept_of

SHOWN = 6  # pictures of each role that figures show


def drawn(model: TextDiffusion, rows: pd.DataFrame, sampling: dict, seed: int) -> np.ndarray:
    """What a model draws for the rows' prompts, (n, H, W, 3) uint8. sampling: `steps`, `guidance`."""
    return draw(model, list(rows["prompt"]), rows["noise"].to_numpy(), **sampling, seed=seed)


class Judging:
    """Judges edited models one after the other, and keeps what is to be written of all of them.

    prompts: as `reference` writes them; before: what the base drew for them, by concept; concepts: factor, value and
    anchor by name; pooled: those that are also measured together, and attacked where there is an attacker; roles: of
    the prompts that are judged.
    """

    def __init__(
        self,
        readers: Judges,
        prompts: pd.DataFrame,
        before: Mapping[str, np.ndarray],
        concepts: dict,
        pooled: list[str],
        sampling: dict,
        seed: int,
        attacker: Attacker | None = None,
        roles: Sequence[str] = ROLES,
    ):
        self.readers, self.prompts, self.before, self.concepts = readers, prompts, before, concepts
        self.pooled, self.sampling, self.seed, self.attacker = pooled, sampling, seed, attacker
        self.roles = roles
        self.found, self.panel = defaultdict(lambda: defaultdict(list)), {}

    def judge(self, model: TextDiffusion, name: str, method: str, setting: str, seed: int) -> None:
        """Let a model draw the prompts of a concept, and read what it drew."""
        rows = self.prompts[self.prompts["concept"] == name]
        asked = rows["role"].isin(self.roles).to_numpy()
        rows, before = rows[asked].reset_index(drop=True), self.before[name][asked]
        made, concept = drawn(model, rows, self.sampling, self.seed), concept_of(name, self.concepts[name])
        found = self.readers.compare(concept, rows, made, before)
        if self.attacker is not None and name in self.pooled:
            found |= self.recovered(model, concept, rows, found)
        for key, values in found.items():
            for label in (name, ALL) if name in self.pooled else (name,):
                self.found[method, label, setting, seed][key].append(values)
        picks = rows.groupby("role").head(SHOWN).index.to_numpy()
        # Censored here: what is not in the file can be shown by no figure and no notebook.
        self.panel[f"{method}.{name}.{setting}.{seed}"] = publishable(made[picks], explicit=concept.censored)
        self.panel["roles"] = rows["role"].to_numpy(str)[picks]

    def recovered(
        self,
        model: TextDiffusion,
        concept: Concept | Named,
        rows: pd.DataFrame,
        found: dict[tuple[str, str], np.ndarray],
    ) -> dict[tuple[str, str], np.ndarray]:
        """Which pictures show the concept, by attack: as `compare` gives outcomes; found: of the prompts themselves."""
        shows = {("recovered", role): ~found["erased", role] for role in SHOWING if ("erased", role) in found}
        for name, latents in self.attacker.attack(model, concept, rows, self.sampling, self.seed).items():
            pictures = autoencoder.decode(model.vae, latents)
            shows["recovered", name] = self.readers.shows(concept, pictures)
        return shows

    def measurements(self) -> list[dict]:
        """A line for each model, concept, metric and role of prompts."""
        return [
            {**line, **dict(zip(("method", "concept", "setting", "seed"), labels, strict=True))}
            for labels, values in self.found.items()
            for line in summary({key: np.concatenate(parts) for key, parts in values.items()})
        ]


def summary(values: dict[tuple[str, str], np.ndarray]) -> list[dict]:
    """A measurement of each metric and role; intervals over prompts."""
    lines = []
    for (metric, role), each in values.items():
        labels = {"prompts": role, "n": len(each)}
        if each.dtype == bool:
            lines.append(row(metric, each.mean(), *wilson(int(each.sum()), len(each)), **labels))
        elif each.ndim == 1:
            lines.append(row(metric, each.mean(), *bootstrap(each), **labels))
        elif metric == "features":
            before = values["features_before", role]
            lines.append(row("frechet", frechet(each, before), **labels))
            lines.append(row("kernel", kernel_distance(each, before, paired=True), **labels))
    return lines
