"""Latent code replacement: its models, presets, rules and sets, and the files that they make.

A preset is a way to encode, mask and select. A role is the part that a data set plays (forget_fit, safe_fit,
forget_test, safe_test, calibration); a preset may give a role a set of its own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from palimpsest.plan.base import Family, as_json, one_of
from palimpsest.plan.code import files_of


class Lcr(Family):
    """The plan of latent code replacement."""

    family = "lcr"

    @property
    def wildcards(self) -> dict[str, str]:
        """The patterns of the wildcards that the family's rules share."""
        return {
            "preset": one_of(self.own("presets")),
            "model": one_of(self.own("models")),
            "set": one_of(self.config["datasets"]),
        }

    # Sets by their role

    def set_of(self, role: str, preset: str | None = None) -> str:
        """The data set that plays a role, in a preset."""
        own = self.own("presets", preset).get("roles", {}) if preset else {}
        return own[role] if role in own else self.own("roles", role)

    def preset_file(self, kind: str, role: str, suffix: str = ".npy") -> Callable:
        """An input function: what the wildcard's preset has of the set that plays a role, such as its codes."""

        def path(wildcards) -> str:
            name = self.set_of(role, wildcards.preset)
            return f"<results>/lcr/{wildcards.preset}/{wildcards.model}/{kind}/{name}{suffix}"

        return path

    def codes(self, role: str) -> Callable:
        """An input function: the codes of the set that plays a role."""
        return self.preset_file("codes", role)

    def masks(self, role: str) -> Callable:
        """An input function: the masks of the set that plays a role."""
        return self.preset_file("masks", role)

    def counts(self, role: str) -> Callable:
        """An input function: the code counts of the set that plays a role."""
        return self.preset_file("counts", role, ".parquet")

    def data(self, role: str, file: str) -> Callable:
        """An input function: an array of the data set that plays a role."""
        return lambda wildcards: f"<results>/data/{self.set_of(role, wildcards.get('preset'))}/{file}"

    def name(self, role: str) -> Callable:
        """A params function: the data set that plays a role."""
        return lambda wildcards: self.set_of(role, wildcards.get("preset"))

    def sets(self, preset: str) -> dict[str, str]:
        """The data set that plays each role; `twin_of_<role>` are the same pictures without the concept."""
        roles = {**self.own("roles"), **self.own("presets", preset).get("roles", {})}
        twins = {f"twin_of_{role}": name for role, name in roles.pop("twin_of", {}).items()}
        return {**roles, **twins}

    def role_of(self, name: str) -> str | None:
        """The role that a data set plays, in any preset."""
        return self.role_and_twin(name)[0]

    def role_and_twin(self, name: str) -> tuple[str | None, str | None]:
        """The role that a data set plays, in any preset, and the set of its twins there."""
        rows = [self.own("roles"), *(row.get("roles", {}) for row in self.own("presets").values())]
        found = ((role, row.get("twin_of", {}).get(role)) for row in rows for role in row if row[role] == name)
        return next(found, (None, None))

    def shows_concept(self, name: str) -> bool:
        """Whether the pictures of a set show the concept."""
        return self.role_of(name) in ("forget_fit", "forget_test")

    def twins(self, path: str) -> Callable:
        """An input function: of the same pictures without the concept, where the world has them.

        path: with {twin} in it. Pictures that do not show the concept are their own twins.
        """

        def twin_files(wildcards) -> str | list:
            shown = self.shows_concept(wildcards.set)
            twin = self.role_and_twin(wildcards.set)[1] if shown else wildcards.set
            return f"<results>/{path}".format(twin=twin, **wildcards) if twin else []

        return twin_files

    # Models, judges, rules

    def codebook_size(self, wildcards) -> int:
        """The number of codes K of the wildcard's model."""
        row = self.setting("networks", wildcards.model)
        if "trainer" in row:
            return row["params"]["architecture"]["codes"]
        return self.setting("checkpoints", row["published"], "codes")

    def judge(self) -> dict:
        """The held-out detector that scores."""
        return self.detector(self.own("judge"))

    def judge_module(self) -> str:
        """The module of the held-out detector."""
        return f"palimpsest.judges.{self.judge()['module']}"

    def judge_network(self) -> str | list:
        """The weights of the held-out detector; none where its module brings its own."""
        return self.optional_network(self.judge().get("network"))

    def network_in(self, role: str) -> str | list:
        """The network that plays a role, `classifier` or `guide`; no input without one."""
        return self.optional_network(self.own().get(role))

    def detections(self, wildcards) -> str:
        """The boxes that the preset's detector found in a set."""
        return f"<results>/judges/{self.own('presets', wildcards.preset, 'detector')}/{wildcards.set}.parquet"

    def rules_of(self, preset: str) -> dict[str, dict]:
        """The replacement rules of a preset with their settings: its own, or all of lcr.rules."""
        return self.own("presets", preset).get("rules") or self.own("rules")

    # Arguments of steps

    def mask_params(self, wildcards) -> str:
        """How boxes become masks of cells."""
        return as_json({**self.own("presets", wildcards.preset, "masks"), "classes": self.own("classes")})

    def evaluated(self, name: str) -> dict:
        """What the evaluation of a set's pictures counts, and by which judge."""
        asked = {key: self.own(key) for key in ("concept", "classes")}
        return {**asked, "shows_concept": self.shows_concept(name), "detector": self.judge()}

    def evaluation_params(self, wildcards) -> str:
        """The evaluation of a set's pictures."""
        return as_json(self.evaluated(wildcards.set))

    def replace_params(self, wildcards) -> str:
        """What one replacement job does: the grid of variants, or the sweep over the number of explicit codes."""
        chosen = self.own("presets", wildcards.preset)
        given = {
            **self.evaluated(wildcards.set),
            "selection": chosen["selection"],
            "min_count": chosen["min_count"],
            "settings": self.rules_of(wildcards.preset)[wildcards.rule],
        }
        if wildcards.design == "sweep":
            sweep = self.own("sweep")
            ranking = {key: value for key, value in chosen["selection"].items() if key not in ("q", "top")}
            given |= {"variants": [["global", "explicit"]], "seeds": sweep["seeds"], "tops": sweep["tops"]}
            return as_json({**given, "selection": ranking})
        return as_json({**given, "variants": chosen["variants"], "seeds": chosen["seeds"]})

    # What the report reads

    def groups(self) -> dict[str, list[str]]:
        """The family's measurement files, by the name under which tables and figures ask for them."""
        models, main = self.own("models"), self.own("main_preset")
        found: dict[str, list[str]] = {
            "judges": ["<results>/judges/calibration.parquet"] if self.networks_of("judge") else [],
            "model_card": [f"<results>/lcr/model_card/{model}.parquet" for model in models]
            if "classifier" in self.own()
            else [],
        }
        for model in models:
            for preset in self.own("presets"):
                base, test = f"<results>/lcr/{preset}/{model}", self.set_of("forget_test", preset)
                grid = [f"{base}/grid/{test}/{rule}/measurements.parquet" for rule in self.rules_of(preset)]
                for group, files in {
                    "reconstruction": [f"{base}/reconstruction/{test}.parquet"],
                    "cooccurrence": [f"{base}/cooccurrence/measurements.parquet"],
                    "grid": grid,
                    **{step: [f"{base}/{step}/measurements.parquet"] for step in self.analyses_of(preset)},
                }.items():
                    found.setdefault(group, []).extend(files)
            base = f"<results>/lcr/{main}/{model}"
            found["reconstruction"].append(f"{base}/reconstruction/{self.set_of('safe_test', main)}.parquet")
            found.setdefault("sweep", []).extend(
                f"{base}/sweep/{self.set_of(role, main)}/{rule}/measurements.parquet"
                for role in ("forget_test", "safe_test")
                for rule in self.own("sweep", "rules")
            )
        return found

    def edits(self) -> list[str]:
        """The tables of edited models that the family makes: one beside each replacement, one of each base."""
        groups = self.groups()
        made = [str(Path(path).with_name("edits.parquet")) for path in [*groups["grid"], *groups["sweep"]]]
        return [*made, *(f"<results>/lcr/networks/{model}/edits.parquet" for model in self.own("models"))]

    def analyses_of(self, preset: str) -> list[str]:
        """The steps that measure a preset besides replacement."""
        return self.own("presets", preset, "analyses")

    def lists(self) -> dict[str, Any]:
        """What all of the family's tables and figures may ask for."""
        return {
            "models": self.own("models"),
            "presets": list(self.own("presets")),
            "main_preset": self.own("main_preset"),
            "rules": list(self.rules_of(self.own("main_preset"))),
            "sets": self.sets(self.own("main_preset")),
            "test_sets": {preset: self.set_of("forget_test", preset) for preset in self.own("presets")},
            "explicit_sets": self.explicit_sets(),
        }

    def check(self) -> None:
        """Raise UserError for the first thing that the family's configuration names and that is not there."""
        for model in self.own("models"):
            self.network(model)
        for name in (self.own("main_preset"), self.own("released_preset")):
            self.own("presets", name)
        for name, row in self.own("presets").items():
            self.detector(row["detector"])
            for rule in self.rules_of(name):
                files_of(f"palimpsest.lcr.rules.{rule}")
            for role in ("forget_fit", "safe_fit", "forget_test", "safe_test"):
                self.setting("datasets", self.set_of(role, name))
        for role in {"forget_test", "safe_test"} & self.own("roles").get("twin_of", {}).keys():
            self.setting("datasets", self.own("roles", "twin_of", role))
        files_of(self.judge_module())
