"""What the families that erase concepts share: concepts, methods and studies, and the runs that a study is made of.

A study is every combination of its concepts, settings and seeds, for each of its methods.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from palimpsest.consent import refuse_without_consent
from palimpsest.errors import UserError
from palimpsest.plan.base import Studies, arguments, as_json
from palimpsest.plan.code import code_of
from palimpsest.unlearning.find import method_module

# What the distances between pictures are called: by our own judges, and by the published ones of these roles.
OWN_NAMES = {"features": "fd_mini", "perceptual": "lpips_mini"}
PUBLISHED_NAMES = {"features": "FID", "perceptual": "LPIPS"}


def asks(row: dict) -> bool:
    """Whether a concept's row is of a model that takes texts of any kind: captions say what is to stay."""
    return row.get("kind", "class") != "class"


class ConceptStudies(Studies):
    """The plan of a family that erases concepts from models that draw what a text says."""

    @property
    def root(self) -> str:
        """The folder of the family's results."""
        return f"<results>/{self.family}"

    # Concepts and methods

    def concepts(self) -> str:
        """Every concept that a study erases, as an argument."""
        return as_json(self.used_concepts())

    def used_concepts(self) -> dict[str, dict]:
        """The rows of those concepts; of a published model's each knows where the captions of the rest are."""
        used = {name for study in self.own("studies").values() for name in study["concepts"]}
        rows = {name: row for name, row in self.own("concepts").items() if name in used}
        named = {name: {**row, "captions": self.own("captions")} for name, row in rows.items() if asks(row)}
        return {**rows, **named}

    def prompt_files(self) -> list[str]:
        """The user's files that prompts are read from."""
        rows = self.used_concepts().values()
        return sorted({row[key] for row in rows for key in ("prompts", "captions") if key in row})

    def judge_roles(self) -> list[str]:
        """The roles of the judges beside the classifier and the detector, in the order in which steps take them."""
        return sorted(self.own().get("judges", {}))

    def further_judges(self) -> list[str]:
        """Their networks."""
        return [self.network(self.own("judges", role)) for role in self.judge_roles()]

    def tuning_judges(self) -> list[str]:
        """The classifier, the detector and the further judges."""
        return [self.network(self.own("classifier")), self.network(self.own("detector")), *self.further_judges()]

    def readers(self) -> str:
        """Their roles, as an argument."""
        return arguments({"judge_roles": self.judge_roles()}) if self.judge_roles() else ""

    def compared_sets(self) -> list[str]:
        """The set of real pictures that distances are measured to as well, if the family names one."""
        return [self.own("data")] if "data" in self.own() else []

    def data_pictures(self) -> list[str]:
        """Its pictures."""
        return [f"<results>/data/{name}/images.npy" for name in self.compared_sets()]

    def code_of_method(self, module: str) -> Callable:
        """An input function: the code of a step and of the method that a wildcard names."""
        return lambda wildcards: code_of(module, method_module(self.family, self.module_of(wildcards.method)))

    def others(self, model: str) -> dict[str, dict]:
        """Checkpoints that others erased concepts from a model with."""
        return {name: row for name, row in self.own().get("others", {}).items() if row["model"] == model}

    # Studies and their runs

    def options_of(self, study: str, method: str) -> list[dict]:
        """What a study tries of a method: in the tuning its grid, else what the tuning chose, or changes to it."""
        if study == self.own("tuning_study"):
            return self.own("methods", method, "grid")
        return [option for option in self.tried(study) if option.get("method", method) == method]

    def tried(self, study: str) -> list[dict]:
        """The changes that a study makes to what the tuning chose; of one method those that name it."""
        return self.own("studies", study).get("options", [{"name": "tuned"}])

    def runs_of(self, study: str, method: str) -> list[dict]:
        """Every run of a method in a study; changes: what an option replaces, of the method's and of what was tuned."""
        row = self.own("studies", study)
        return [
            {
                "concept": concept,
                "setting": option["name"],
                "seed": seed,
                **self.made_by(method, concept),
                "changes": {key: value for key, value in option.items() if key not in ("name", "method")},
            }
            for concept in (["+".join(row["concepts"])] if row.get("together") else row["concepts"])
            for option in self.options_of(study, method)
            for seed in row["seeds"]
        ]

    def made_by(self, method: str, concept: str) -> dict:
        """Selection, training and settings of a method, and over them what it has for the concept's kind alone."""
        own = self.own("methods", method)
        special = own.get("kinds", {}).get(self.own("concepts").get(concept, {}).get("kind"), {})
        return {
            "selection": special.get("selection", own["selection"]),
            "training": {**self.training_of(method), **special.get("training", {})},
            "settings": {**own.get("settings", {}), **special.get("settings", {})},
        }

    def training_of(self, method: str) -> dict:
        """How a method trains; nothing for one that does not."""
        own = self.own("methods", method).get("training", {})
        return {} if own is False else {**self.own("training"), **own}

    def grid_of(self, wildcards) -> str:
        """The settings that the tuning tries of a method."""
        return as_json({"settings": self.own("methods", wildcards.method, "grid")})

    def selected(self, wildcards) -> str | list:
        """What the tuning chose, where the study is not the tuning."""
        if wildcards.study == self.own("tuning_study"):
            return []
        return f"{self.root}/{wildcards.model}/{self.own('tuning_study')}/{wildcards.method}/selected.json"

    def judged(self, wildcards) -> str:
        """What of a study's models is judged: some roles of prompts or all.

        The reported study's are also attacked, and compared with the oracles.
        """
        roles = arguments({key: row for key, row in self.own("studies", wildcards.study).items() if key == "roles"})
        if wildcards.study != self.own("reported_study"):
            return roles
        return " ".join(filter(None, [roles, self.oracles_argument(wildcards.model), self.attacks()]))

    def oracles_compared(self, model: str) -> list[str]:
        """Of the concepts of the reported study those that there is an oracle of."""
        reported = self.own("studies", self.own("reported_study"), "concepts")
        return [name for name in self.oracles(model) if name in reported]

    def oracles_argument(self, model: str) -> str:
        """The same, as an argument of a step; none where there is none."""
        oracles = self.oracles_compared(model)
        return arguments({"oracles": oracles} if oracles else {})

    def attacks(self) -> str:
        """How edited models are attacked, as an argument; none where the configuration attacks none."""
        return arguments({"attacks": self.own("attacks")}) if "attacks" in self.own() else ""

    # What the report reads

    def groups(self) -> dict[str, list[str]]:
        """The family's measurement files, by the name under which tables and figures ask for them."""
        found: dict[str, list[str]] = {"networks": [], "tuning_choice": []}
        for model in self.own("models"):
            base, tuning = f"{self.root}/{model}", self.own("tuning_study")
            found["networks"].append(f"{base}/networks/measurements.parquet")
            found["tuning_choice"] += [f"{base}/{tuning}/{each}/chosen.parquet" for each in self.methods_of(tuning)]
            for study in self.own("studies"):
                files = [self.measurements_of(model, study, method) for method in self.methods_of(study)]
                found.setdefault(study, []).extend(files)
        return found

    def edits(self) -> list[str]:
        """The tables of edited models that the family makes, and of the networks that they are compared with."""
        folders = [
            f"{model}/{study}/{method}"
            for model in self.own("models")
            for study in self.own("studies")
            for method in self.methods_of(study)
            if self.is_made(model, study, method)
        ]
        folders += [f"networks/{model}" for model in self.own("models")]
        return [f"{self.root}/{folder}/edits.parquet" for folder in folders]

    def lists(self) -> dict[str, Any]:
        """What all of the family's tables and figures may ask for."""
        return {
            "models": self.own("models"),
            "methods": self.methods_of(self.own("reported_study")),
            "concepts": self.own("concepts"),
            "oracles": {model: self.oracles_compared(model) for model in self.own("models")},
            "others": {model: self.others(model) for model in self.own("models")},
            "studies": {
                name: {
                    "concepts": row["concepts"],
                    "seeds": row["seeds"],
                    "methods": self.methods_of(name),
                    "options": self.tried(name),
                }
                for name, row in self.own("studies").items()
            },
            "grids": {name: self.own("methods", name, "grid") for name in self.methods_of(self.own("tuning_study"))},
            "released_tunings": self.released_tunings(),
            "sampling": self.own("sampling"),
            "prompts": self.own("prompts"),
            "attacks": self.own().get("attacks", {}),
            "data": self.own().get("data"),
            "names": {**OWN_NAMES, **{role: PUBLISHED_NAMES[role] for role in OWN_NAMES if role in self.judge_roles()}},
        }

    def check(self) -> None:
        """Raise UserError for the first thing that the family's configuration names and that is not there."""
        for name in (self.own("classifier"), self.own("detector"), *self.own("models")):
            self.network(name)
        for model in self.own("models"):
            for name in self.oracles(model).values():
                self.network(name)
        for name in self.own("methods"):
            method_module(self.family, self.module_of(name))
        for key in ("tuning_study", "reported_study"):
            self.own("studies", self.own(key))
        for study, row in self.own("studies").items():
            for name in row["concepts"]:
                self.own("concepts", name)
            for name in (*self.methods_of(study), *row.get("without", [])):
                self.own("methods", name)
            for option in self.tried(study):
                if option.get("method") not in (None, *self.methods_of(study)):
                    raise UserError(
                        f"{self.family}.studies.{study}: the option {option['name']} is of the method "
                        f"{option['method']}, which the study has not. Give one of {', '.join(self.methods_of(study))}"
                    )
        for name, row in self.used_concepts().items():
            refuse_without_consent(name, row)
        for path in self.prompt_files():
            if not Path(path).is_file():
                raise UserError(
                    f"{self.family}: prompts or captions are to be read from {path}, and there is no such file. Put "
                    "one there, or name another (docs/published_data.md says what it holds)"
                )
        for role in self.judge_roles():
            self.network(self.own("judges", role))
        self.check_data()
        for name, row in self.own().get("others", {}).items():
            if row["model"] not in self.own("models") or row["concept"] not in self.used_concepts():
                raise UserError(
                    f"{self.family}.others.{name} names the model {row['model']} and the concept {row['concept']}: "
                    f"give one of {', '.join(self.own('models'))}, and a concept that a study erases"
                )
            if not Path(row["path"]).is_file() and row["path"] not in self.fetched_checkpoints():
                raise UserError(
                    f"{self.family}.others.{name}: there is no file {row['path']}. Put it there, or correct `path`"
                )

    def check_data(self) -> None:
        """Raise UserError for a set `data` that is not there, or that no judge can compare pictures with."""
        for name in self.compared_sets():
            self.setting("datasets", name)
            if "published" in self.setting("networks", self.own("classifier")) and "features" not in self.judge_roles():
                raise UserError(
                    f"{self.family}.data: distances to the pictures of {name} are asked for, and no network gives "
                    f"features of pictures. Set {self.family}.judges.features, or leave `data` out"
                )
