"""The audit by inversion: which models it audits, on which pictures, and the files that come of it.

It audits the models that the families `erasure` and `instance` edited, and the networks that they are compared with,
and reads nothing of these families but files.
"""

from pathlib import Path
from typing import Any

from palimpsest.errors import UserError
from palimpsest.plan.base import Family, arguments, as_json, one_of
from palimpsest.plan.erasure import Erasure
from palimpsest.plan.instance import Instance

# Audited like the edits of a method: the base, its oracles, a random network, and none at all; and what others edited.
NETWORKS, OTHERS = "networks", "others"


class Memory(Family):
    """The plan of the audit."""

    family = "memory"
    root = "<results>/memory"

    @property
    def erasure(self) -> Erasure:
        """The plan of the family whose models are audited."""
        return Erasure(self.config)

    @property
    def wildcards(self) -> dict[str, str]:
        """The patterns of the wildcards that the family's rules share."""
        return {"model": one_of(self.models()), "audited": one_of([*self.methods(), NETWORKS, OTHERS])}

    def study(self) -> str:
        """The study of erasure whose edits are audited."""
        return self.erasure.own("reported_study")

    def methods(self) -> list[str]:
        """The methods whose edits are audited."""
        return self.own().get("methods") or self.erasure.methods_of(self.study())

    def audited(self, model: str) -> list[str]:
        """What a job audits: the edits of a method, the networks that they are compared with, what others edited."""
        return [*self.methods(), NETWORKS, *([OTHERS] if self.erasure.others(model) else [])]

    def edits_of(self, wildcards) -> str:
        """The table of the models that a job audits; what others edited is listed with the networks."""
        if wildcards.audited in (NETWORKS, OTHERS):
            return self.networks(wildcards)
        return f"{self.erasure.root}/{wildcards.model}/{self.study()}/{wildcards.audited}/edits.parquet"

    def measured_by_erasure(self, wildcards) -> list[str]:
        """What the family erasure measured of the same edits: whether prompts, and attacks, still show the concept."""
        return [self.erasure.measurements_of(wildcards.model, self.study(), method) for method in self.methods()]

    def concepts(self) -> str:
        """The concepts that are audited, as an argument."""
        rows = self.erasure.used_concepts()
        return as_json({name: rows[name] for name in self.audited_concepts()})

    def audited_concepts(self) -> list[str]:
        """Their names."""
        return self.erasure.own("studies", self.study(), "concepts")

    def cases_of(self, wildcards) -> str:
        """Which sets a job inverts under which captions, by method: of networks that know something, most."""
        kinds = {wildcards.audited: "edits"}
        if wildcards.audited == NETWORKS:
            kinds = {"pretrained": "networks", "oracle": "networks", "random": "controls", "zero": "controls"}
        elif wildcards.audited == OTHERS:
            kinds = {row["method"]: "edits" for row in self.erasure.others(wildcards.model).values()}
        return as_json({method: self.own("cases", kind) for method, kind in kinds.items()})

    def inversion_of(self, wildcards) -> str:
        """How a job inverts: edited models perhaps in another way, of which there are many."""
        shared = {name: value for name, value in self.own("inversion").items() if name != "edits"}
        own = {} if wildcards.audited == NETWORKS else self.own("inversion").get("edits", {})
        return as_json({**shared, **own})

    def oracles_of(self, wildcards) -> str:
        """The audited concepts that there is an oracle of, as an argument."""
        return self.erasure.oracles_argument(wildcards.model)

    def captions(self) -> str | list:
        """The user's file of the captions of real pictures, where these are photographs."""
        return self.own().get("captions", [])

    def real(self, file: str) -> str:
        """A file of the set of real pictures."""
        return f"<results>/data/{self.own('real')}/{file}"

    # Studies of the audit itself, and the audit of models of pixels

    @property
    def instance(self) -> Instance:
        """The plan of the family whose face models are audited."""
        return Instance(self.config)

    def networks(self, wildcards) -> str:
        """The table of the networks that nothing was erased from."""
        return f"{self.erasure.root}/{NETWORKS}/{wildcards.model}/edits.parquet"

    def crosses(self) -> bool:
        """Whether the experiment has face models to audit."""
        return "crossed" in self.own() and Instance.family in self.config["families"]

    def crossed_models(self) -> list[str]:
        """The face models whose edits are audited: the first, where the experiment has some."""
        return self.instance.own("models")[:1] if self.crosses() else []

    def crossed_edits(self, wildcards) -> list[str]:
        """The tables of the face models that a study edited, a method each."""
        folder = f"{self.instance.root}/{wildcards.model}/{self.own('crossed', 'study')}"
        return [f"{folder}/{method}/edits.parquet" for method in self.crossed_methods()]

    def crossed_methods(self) -> list[str]:
        """The methods of that study; none where nothing is crossed."""
        return self.instance.methods_of(self.own("crossed", "study")) if self.crosses() else []

    def crossed_flags(self) -> str:
        """What the audit of face models is given, as arguments."""
        given = {name: value for name, value in sorted(self.own().get("crossed", {}).items()) if name != "study"}
        return arguments(given)

    # What the report reads

    def groups(self) -> dict[str, list[str]]:
        """The family's measurement files, by the name under which tables and figures ask for them."""
        found: dict[str, list[str]] = {name: [] for name in ("audit", "decoded", "compared")}
        for model in self.models():
            base = f"{self.root}/{model}"
            found["audit"] += [f"{base}/audit/{name}/measurements.parquet" for name in self.audited(model)]
            found["decoded"].append(f"{base}/decoded/measurements.parquet")
            found["compared"].append(f"{base}/compared/measurements.parquet")
            found.setdefault("likelihood", []).append(f"{base}/likelihood/measurements.parquet")
            found.setdefault("solvers", []).append(f"{base}/solvers/measurements.parquet")
        found["solvable"] = [f"{self.root}/solvable/measurements.parquet"]
        found["crossed"] = [f"{self.root}/crossed/{model}/measurements.parquet" for model in self.crossed_models()]
        return found

    def lists(self) -> dict[str, Any]:
        """What all of the family's tables and figures may ask for."""
        return {
            "models": self.models(),
            "methods": self.methods(),
            "concepts": self.audited_concepts(),
            "oracles": {model: self.erasure.oracles_compared(model) for model in self.models()},
            "others": {model: self.erasure.others(model) for model in self.models()},
            "inversion": self.own("inversion"),
            "images": self.own("images"),
            "cases": self.own("cases"),
            "counts": self.own("counts"),
            "likelihood": self.own("likelihood"),
            "solvers": self.own("solvers"),
            "solvable": self.own("solvable"),
            "crossed": self.own().get("crossed", {}),
            "crossed_methods": self.crossed_methods(),
        }

    def check(self) -> None:
        """Raise UserError for the first thing that the family's configuration names and that is not there."""
        if "erasure" not in self.config["families"]:
            raise UserError(
                "families: memory audits what erasure edits. Add erasure to the families, or leave memory out"
            )
        self.setting("datasets", self.own("real"))
        self.check_photographs()
        if unknown := set(self.models()) - set(self.erasure.own("models")):
            raise UserError(f"memory.models names {sorted(unknown)}, erasure edits {self.erasure.own('models')}")
        known = self.erasure.methods_of(self.study())
        if unknown := set(self.methods()) - set(known):
            raise UserError(f"memory.methods names {sorted(unknown)}, the study {self.study()} has {known}")
        for name, row in self.erasure.own().get("others", {}).items():
            if row["model"] in self.models() and row["concept"] not in self.audited_concepts():
                raise UserError(
                    f"erasure.others.{name} forgot {row['concept']}, and memory audits the concepts of the study "
                    f"{self.study()}. Add it to erasure.studies.{self.study()}.concepts, or leave {name} out"
                )
        if self.crosses():
            self.instance.own("studies", self.own("crossed", "study"))

    def check_photographs(self) -> None:
        """Raise UserError where a published model's concepts lack captioned photographs, or are to be photographed."""
        named = [name for name in self.audited_concepts() if "kind" in self.erasure.own("concepts", name)]
        if named and not self.captions():
            raise UserError(
                f"memory.captions: the concept {named[0]} is compared with photographs of {self.own('real')}, whose "
                "captions are needed. Name a file of yours (docs/published_data.md says what it holds)"
            )
        if self.captions() and not Path(self.captions()).is_file():
            raise UserError(
                f"memory: captions of photographs are to be read from {self.captions()}, and there is no such file. "
                "Put one there, or name another (docs/published_data.md says what it holds)"
            )
        asked = {name for case in self.own("cases").values() for some in case.values() for name in some}
        if named and "real_concept" in asked:
            raise UserError(
                f"memory.cases asks for the set real_concept, and nobody says which photographs show {named[0]}. Leave "
                "it out"
            )
