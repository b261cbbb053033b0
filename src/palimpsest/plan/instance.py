"""Instance unlearning: its targets, surrogates, judges and studies, and the runs that a study is made of.

A study is every combination of its targets, settings, surrogates and seeds, for each of its methods.
"""

from collections.abc import Callable
from typing import Any

from palimpsest.plan.base import Studies, as_json
from palimpsest.plan.code import code_of, files_of
from palimpsest.unlearning.find import method_module


class Instance(Studies):
    """The plan of instance unlearning."""

    family = "instance"
    root = "<results>/instance"
    repairing = ("tuning", "comparison")  # the studies of the class that is drawn wrong

    # Pictures and judges

    def data(self, key: str, file: str) -> str:
        """An array of the set that the configuration names under a key of the family."""
        return f"<results>/data/{self.own(key)}/{file}"

    def target_sets(self) -> list[str]:
        """The data sets that hold targets."""
        return sorted({row["set"] for row in self.own("targets").values()})

    def judge_roles(self) -> list[str]:
        """The roles of the judges, in the order in which steps take their networks."""
        return sorted(self.own("judges"))

    def judge_modules(self) -> list[str]:
        """The modules of the judges, in the order of their roles."""
        return [f"palimpsest.judges.{self.own('judges', role, 'module')}" for role in self.judge_roles()]

    def judge_networks(self) -> list[str]:
        """The networks of the judges, in the order of their roles; the module's own file where it needs none."""
        rows = [self.own("judges", role) for role in self.judge_roles()]
        return [
            self.network(row["network"]) if "network" in row else files_of(module)[0]
            for row, module in zip(rows, self.judge_modules(), strict=True)
        ]

    def judging(self) -> str:
        """The module of each role, as an argument."""
        return as_json({role: self.own("judges", role)["module"] for role in self.judge_roles()})

    def network_behind(self, wildcards) -> str:
        """The pretrained model, or the network trained without the targets."""
        oracle = wildcards.which == "oracle"
        return self.network(self.own("oracles", wildcards.model) if oracle else wildcards.model)

    def reference_params(self) -> str:
        """What the reference takes: the samples of one training seed, for every seed of the studies."""
        seeds = 1 + max(seed for row in self.own("studies").values() for seed in row["seeds"])
        return as_json({**self.own("reference"), "seeds": seeds})

    # Surrogates and methods

    def surrogate_kind(self, wildcards) -> str:
        """The module that makes a surrogate."""
        return self.own("surrogates", wildcards.surrogate, "kind")

    def surrogate_params(self, wildcards) -> str:
        """The settings of a surrogate."""
        return as_json(self.own("surrogates", wildcards.surrogate).get("params", {}))

    # Studies and their runs

    def code_of_method(self, module: str, method: str) -> Callable:
        """An input function: the code of a step and of the method that a wildcard names."""
        return lambda wildcards: code_of(module, method_module(self.family, self.module_of(method.format(**wildcards))))

    def surrogates_of(self, study: str) -> list[str]:
        """The surrogates of a study: its own, or the usual one."""
        return self.own("studies", study).get("surrogates") or [self.own("surrogate")]

    def options_of(self, study: str, method: str) -> list[dict]:
        """The settings that a study tries of a method: in the tuning its grid, else the study's own, or one."""
        if study == self.own("tuning_study"):
            return self.own("methods", method, "grid")
        return self.own("studies", study).get("settings", [{"name": "default"}])

    def is_tuned(self, study: str) -> bool:
        """Whether a study takes the settings that the tuning chose."""
        return bool(self.own("studies", study).get("tuned"))

    def runs_of(self, study: str, method: str) -> list[dict]:
        """Every run of a method in a study."""
        row, chosen = self.own("studies", study), self.own("methods", method)
        return [
            self.run(targets, option, surrogate, seed, chosen, self.is_tuned(study))
            for targets in row["targets"]
            for option in self.options_of(study, method)
            for surrogate in self.surrogates_of(study)
            for seed in row["seeds"]
        ]

    def run(self, targets: list[str], option: dict, surrogate: str, seed: int, chosen: dict, tuned: bool) -> dict:
        """One run: what it forgets, how it trains, what it is called."""
        label = "tuned" if tuned else option["name"]
        return {
            "name": f"{'+'.join(targets)}.{surrogate}.{label}.{seed}",
            "targets": targets,
            "surrogate": surrogate,
            "setting": label,
            "seed": seed,
            "tuned": tuned,
            "remember": option.get("remember", "data"),
            "training": {**self.own("training"), **chosen.get("training", {}), **option.get("training", {})},
            "settings": {**chosen.get("settings", {}), **option.get("settings", {})},
        }

    def fixed_of(self, method: str) -> dict:
        """What every setting of a method has, unless it changes it."""
        chosen = self.own("methods", method)
        return {**self.own("training"), **chosen.get("training", {}), **chosen.get("settings", {})}

    def grid_changes(self, method: str) -> dict[str, dict]:
        """What each setting of a method's grid changes, by its name."""
        return {row["name"]: changes_of(row) for row in self.options_of(self.own("tuning_study"), method)}

    def grid_of(self, wildcards) -> str:
        """The settings that the tuning tries of a method."""
        return as_json({"settings": self.options_of(self.own("tuning_study"), wildcards.method)})

    def tuning_judges(self) -> list[str]:
        """All of the family's judges."""
        return self.judge_networks()

    def tuning_sizes(self) -> dict:
        """How much a tuning measures."""
        return self.own("reference")

    def surrogate_files(self, wildcards) -> list[str]:
        """The surrogates that a study uses."""
        return [f"{self.root}/{wildcards.model}/surrogates/{name}.npy" for name in self.surrogates_of(wildcards.study)]

    def selected(self, wildcards) -> str | list:
        """What the tuning chose, where the study asks for it."""
        if not self.is_tuned(wildcards.study):
            return []
        return f"{self.root}/{wildcards.model}/{self.own('tuning_study')}/{wildcards.method}/selected.json"

    def generated(self, wildcards) -> str | list:
        """The pretrained model's own samples, where a setting of the study, or of its tuning, remembers them."""
        study = self.own("tuning_study") if self.is_tuned(wildcards.study) else wildcards.study
        options = self.options_of(study, wildcards.method)
        wanted = any(option.get("remember") == "generated" for option in options)
        return f"{self.root}/{wildcards.model}/reference/generated.npy" if wanted else []

    def all_targets(self) -> str:
        """The lists of targets that each study forgets, one after the other."""
        return as_json({"studies": {name: row["targets"] for name, row in self.own("studies").items()}})

    # Conditional models

    def repairs(self) -> list[str]:
        """Methods of the class that is drawn wrong, where the experiment has one."""
        return list(self.own().get("faulty_class", {}).get("methods", {}))

    def faulty(self, *keys: str) -> Any:
        """A value of the configuration of the class that is drawn wrong."""
        return self.own("faulty_class", *keys)

    def repair_options(self, study: str, method: str) -> list[dict]:
        """The settings that a study tries of a repair: the tuning its grid, others what that chose, and a release's."""
        row = self.faulty("methods", method)
        if study == "tuning":
            return row["grid"]
        released = [{"name": "released", "settings": row["released"]}] if "released" in row else []
        return [{"name": "tuned"}, *released]

    def repair_runs(self, study: str, method: str) -> list[dict]:
        """Every run of a repair in a study."""
        row = self.faulty("methods", method)
        return [
            {
                "setting": option["name"],
                "seed": seed,
                "tuned": option["name"] == "tuned",
                "training": {**self.faulty("training"), **row.get("training", {}), **option.get("training", {})},
                "settings": {**row.get("settings", {}), **option.get("settings", {})},
            }
            for option in self.repair_options(study, method)
            for seed in self.faulty("studies", study, "seeds")
        ]

    def repair_plan(self, wildcards) -> str:
        """The runs of a job of a repair."""
        return as_json({"runs": self.repair_runs(wildcards.repairing, wildcards.repair)})

    def repair_tuned_on(self, wildcards) -> str:
        """What the tuning measured of a repair: the released file, or where this run measures it."""
        asked = {"runs": self.repair_runs("tuning", wildcards.repair), "sizes": self.faulty("reference")}
        judges = [self.network(self.faulty("judge"))]
        released = self.released_tuning(self.faulty("model"), wildcards.repair, asked, judges)
        return released or f"{self.root}/faulty_class/tuning/{wildcards.repair}/measurements.parquet"

    def repair_selected(self, wildcards) -> str | list:
        """What the tuning of a repair chose, but in the tuning itself."""
        if wildcards.repairing == "tuning":
            return []
        return f"{self.root}/faulty_class/tuning/{wildcards.repair}/selected.json"

    def faulty_data(self, role: str, file: str) -> str:
        """An array of the set on which the judge of the class was trained (`train`), or measured (`test`)."""
        return f"<results>/data/{self.setting('networks', self.faulty('judge'), role)}/{file}"

    def repair_pictures(self, role: str) -> Callable:
        """An input function: a study's wrong pictures (`targets`), or the same repaired (`surrogates`)."""
        return lambda wildcards: f"<results>/data/{self.faulty('studies', wildcards.repairing, role)}/images.npy"

    def cases(self) -> list[str]:
        """Prompts of a text-to-image model, where the experiment has one."""
        return list(self.own().get("prompted", {}).get("cases", {}))

    def case_file(self, role: str):
        """An input function: the pictures of a prompt that are its targets or surrogates."""
        return lambda wildcards: f"<results>/data/{self.own('prompted', 'cases', wildcards.case, role)}/images.npy"

    # What the report reads

    def measured_methods(self, model: str, study: str) -> list[str]:
        """What a study measured of each of its methods."""
        return [self.measurements_of(model, study, each) for each in self.methods_of(study)]

    def groups(self) -> dict[str, list[str]]:
        """The family's measurement files, by the name under which tables and figures ask for them."""
        root, repairs, tuning = self.root, self.repairs(), self.own("tuning_study")
        faulty = [f"{root}/faulty_class/comparison/{name}/measurements.parquet" for name in ("reference", *repairs)]
        chosen = [f"{root}/faulty_class/tuning/{name}/chosen.parquet" for name in repairs]
        found: dict[str, list[str]] = {
            "ridge": [f"{root}/ridge/measurements.parquet"],
            "judges": ["<results>/judges/faces.parquet"] if self.networks_of("face_judge") else [],
            "faulty_class": faulty if repairs else [],
            "repair_choice": chosen,
            "prompted": [f"{root}/prompted/{name}/measurements.parquet" for name in self.cases()],
        }
        for model in self.own("models"):
            base = f"{root}/{model}"
            with_oracle = model in self.own("oracles")
            files = {name: [f"{base}/{name}/measurements.parquet"] for name in ("reference", "conflicts", "surrogates")}
            which = ["pretrained", *(["oracle"] if with_oracle else [])]
            files["networks"] = [f"{base}/networks/{name}/measurements.parquet" for name in which]
            files["membership"] = [f"{base}/membership/measurements.parquet"] if with_oracle else []
            for study, row in self.own("studies").items():
                methods = self.methods_of(study)
                files[study] = self.measured_methods(model, study)
                if "paired_with" in row:
                    files[study].append(f"{base}/{study}/paired.parquet")
                if "paired" in row:
                    files[study] += [f"{base}/{study}/{each}/paired.parquet" for each in methods]
            files["tuning_choice"] = [f"{base}/{tuning}/{method}/chosen.parquet" for method in self.methods_of(tuning)]
            for group, paths in files.items():
                found.setdefault(group, []).extend(paths)
        return found

    def edits(self) -> list[str]:
        """The tables of edited models that the family makes, and of the networks that they are compared with."""
        folders = [f"faulty_class/comparison/{name}" for name in self.repairs()]
        folders += [f"prompted/{name}" for name in self.cases()]
        for model in self.own("models"):
            folders += [
                f"{model}/{study}/{method}"
                for study in self.own("studies")
                for method in self.methods_of(study)
                if self.is_made(model, study, method)
            ]
            folders.append(f"networks/{model}")
        return [f"{self.root}/{folder}/edits.parquet" for folder in folders]

    def lists(self) -> dict[str, Any]:
        """What all of the family's tables and figures may ask for."""
        studies = self.own("studies").items()
        return {
            "models": self.own("models"),
            "sets": {role: self.own(role) for role in ("data", "held_out")},
            "methods": list(self.own("methods")),
            "surrogates": list(self.own("surrogates")),
            "targets": list(self.own("targets")),
            "studies": {name: {key: row[key] for key in ("targets", "seeds")} for name, row in studies},
            "fixed": {name: self.fixed_of(name) for name in self.own("methods")},
            "grids": {name: self.grid_changes(name) for name in self.own("methods")},
            "released_tunings": self.released_tunings(),
            "evaluation": {key: self.own("reference", key) for key in ("draws", "pairs")},
            "repairs": self.repairs(),
            "repair_grids": {
                name: [row["name"] for row in self.repair_options("tuning", name)] for name in self.repairs()
            },
            "cases": self.cases(),
            "judges": {role: self.own("judges", role)["name"] for role in self.judge_roles()},
            "explicit_sets": self.explicit_sets(),
            "injection_steps": self.own("reference", "injection_steps"),
        }

    def check(self) -> None:
        """Raise UserError for the first thing that the family's configuration names and that is not there."""
        for name in [*self.own("models"), *self.own("oracles").values()]:
            self.network(name)
        for name in (self.own("data"), self.own("held_out"), *self.target_sets()):
            self.setting("datasets", name)
        for name in [*self.own("methods"), *self.repairs()]:
            method_module(self.family, self.module_of(name))
        if self.repairs():
            for study in self.repairing:
                for role in ("targets", "surrogates"):
                    self.setting("datasets", self.faulty("studies", study, role))
        for name in self.cases():
            for role in ("targets", "surrogates"):
                self.setting("datasets", self.own("prompted", "cases", name, role))
        for row in self.own("surrogates").values():
            files_of(f"palimpsest.instance.surrogates.{row['kind']}")
        self.own("studies", self.own("tuning_study"))
        for name, row in self.own("studies").items():
            for part in self.methods_of(name):
                self.own("methods", part)
            for part in self.surrogates_of(name):
                self.own("surrogates", part)
            for part in {part for targets in row["targets"] for part in targets}:
                self.own("targets", part)
        for module in self.judge_modules():
            files_of(module)


def changes_of(option: dict) -> dict:
    """What a setting changes: of the training, of the method, and what is remembered."""
    remember = {"remember": option["remember"]} if "remember" in option else {}
    return {**option.get("training", {}), **option.get("settings", {}), **remember}
