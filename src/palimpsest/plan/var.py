"""Concept erasure in next-scale models: the studies of its methods, and what is asked of the models themselves."""

from typing import Any

from palimpsest.errors import UserError
from palimpsest.plan.base import arguments, as_json, one_of
from palimpsest.plan.concepts import ConceptStudies


class Var(ConceptStudies):
    """The plan of concept erasure in next-scale models."""

    family = "var"

    def groups(self) -> dict[str, list[str]]:
        """The family's measurement files, by the name under which tables and figures ask for them."""
        found = {
            name: [f"{self.root}/{model}/{name}/measurements.parquet" for model in models]
            for models, names in ((self.fed(), STEPS_OF_FED), (self.own("models"), STEPS))
            for name in names
        }
        return super().groups() | found

    def fed(self) -> list[str]:
        """The models that are asked what they say of safe tokens: those that are edited, and others of other scales."""
        return [*self.own("models"), *self.own().get("fed", [])]

    @property
    def wildcards(self) -> dict[str, str]:
        """The patterns of the rules' wildcards."""
        return {**super().wildcards, "model": one_of(self.fed())}

    def lists(self) -> dict[str, Any]:
        """What all of the family's tables and figures may ask for."""
        own = {name: self.own(name) for name in ("pairs", "likelihood")}
        return {**super().lists(), **own, "fed": self.fed()}

    def concepts_of(self, study: str) -> str:
        """The concepts of a study, as an argument."""
        return as_json({name: self.used_concepts()[name] for name in self.own("studies", study, "concepts")})

    def reported_edits(self, wildcards) -> list[str]:
        """The tables of the models that were edited in the reported study."""
        study = self.own("reported_study")
        return [f"{self.root}/{wildcards.model}/{study}/{each}/edits.parquet" for each in self.methods_of(study)]

    def kept(self) -> str:
        """In which precision edited models are kept, as an argument; as they were trained unless the family says."""
        return arguments({"half": self.own("half_edits")} if "half_edits" in self.own() else {})

    def priority(self, wildcards) -> int:
        """Of the edits of a study: those of the reported one come first, as most of what follows reads them.

        Of them the last that the configuration lists, built from more and slower, so that a short one ends the row.
        """
        reported = wildcards.study == self.own("reported_study")
        return list(self.own("methods")).index(wildcards.method) + 2 if reported else 0

    def course(self, wildcards, table: str) -> str:
        """A table of the models that one method's training was ended early for: edits, measurements."""
        study = self.own("course_study")
        return f"{self.root}/{wildcards.model}/{study}/{self.methods_of(study)[0]}/{table}.parquet"

    def course_lengths(self) -> str:
        """The steps of each of its settings, as an argument."""
        return as_json({each["name"]: each["training"]["steps"] for each in self.tried(self.own("course_study"))})

    def real(self, file: str) -> str | list:
        """A file of the real pictures whose likelihood is measured; no input where there are none."""
        return f"<results>/data/{self.own('real')}/{file}" if "real" in self.own() else []

    def check(self) -> None:
        """Raise UserError for the first thing that the family's configuration names and that is not there."""
        super().check()
        if "real" in self.own():
            self.setting("datasets", self.own("real"))
        for option in self.tried(study := self.own("course_study")):
            if "steps" not in option.get("training", {}):
                raise UserError(
                    f"var.studies.{study}: the option {option['name']} has no length. Give it `training: {{steps: 10}}`"
                )
        for name in self.own().get("fed", []):
            self.network(name)


# What is measured of a model, beside its edits: the pairs, what the transformer is fed; and where models are edited too
# which tokens carry a concept, how likely pictures stay, the course of a training.
STEPS_OF_FED = ("pairs", "feeding")
STEPS = ("exchange", "likelihood", "token_maps")
