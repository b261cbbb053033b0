"""What every family's plan can ask: values of the configuration, networks, data sets, detectors.

Paths begin with <results>, which the workflow fills in. Methods that give a function give an input function: Snakemake
calls it with a job's wildcards.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from palimpsest.errors import UserError
from palimpsest.plan import configuration
from palimpsest.plan.code import files_of

# Where a network's file lies below its folder, by its trainer or by the layout of its checkpoint: a diffusion model in
# the layout of the Hub, a single file as such. A pipeline stays where it is: its file says where.
WEIGHTS = {
    "ddpm": "{name}/unet/diffusion_pytorch_model.safetensors",
    "text_diffusion": "{name}/unet/diffusion_pytorch_model.safetensors",
    "autoencoder": "{name}/vae/diffusion_pytorch_model.safetensors",
    "visual_tokenizer": "{name}/visual_tokenizer/model.safetensors",
    "var": "{name}/transformer/model.safetensors",
    "diffusion": "{name}/unet/diffusion_pytorch_model.safetensors",
    "torchscript": "{name}.pt",
    "state_dict": "{name}.pt",
    "onnx": "{name}.onnx",
    "pipeline": "{name}.json",
    "transformers": "{name}.json",
    "next_scale": "{name}/transformer/model.safetensors",
}
RELEASED = Path("resources/models")
TUNINGS = Path("resources/tunings")  # what tunings of released models measured: a folder for each family and model
# Other networks that a training reads, by the key of its row and the name of its argument.
ROLES = ("guide", "start", "autoencoder", "visual", "judge", "detector")
# Trainer to module, and what it reads of the set that it is trained on, and of the one that it is measured on.
PICTURES, MASKS, MANIFEST = "images.npy", "masks.npy", "manifest.parquet"
TRAINERS = {
    "judge": ("palimpsest.judges.train", (PICTURES, MASKS, MANIFEST), (PICTURES, MASKS, MANIFEST)),
    "face_judge": ("palimpsest.judges.train_faces", (PICTURES, MANIFEST), (PICTURES, MANIFEST)),
    "factors": ("palimpsest.judges.train_factors", (PICTURES, MANIFEST), (PICTURES, MANIFEST)),
    "vqgan": ("palimpsest.models.train_vqgan", (PICTURES, MASKS), (PICTURES,)),
    "ddpm": ("palimpsest.models.train_ddpm", (PICTURES, MANIFEST), (PICTURES,)),
    "autoencoder": ("palimpsest.models.train_autoencoder", (PICTURES, MASKS), (PICTURES, MANIFEST)),
    "text_diffusion": ("palimpsest.models.train_text_diffusion", (PICTURES, MASKS, MANIFEST), (MANIFEST,)),
    "visual_tokenizer": ("palimpsest.models.train_visual_tokenizer", (PICTURES, MASKS), (PICTURES, MANIFEST)),
    "var": ("palimpsest.models.train_var", (PICTURES, MASKS, MANIFEST), (PICTURES, MANIFEST)),
}


def as_json(value: Any) -> str:
    """A parameter's text on the command line: keys in order, so that a reordered configuration changes nothing."""
    return json.dumps(value, sort_keys=True)


def arguments(given: Mapping[str, Any]) -> str:
    """Values as arguments of a step, one flag each: `--codes a.npy --seeds 0 1`; a list gives several values.

    An object, true and false are written as JSON, as `palimpsest.run` reads them.
    """
    return " ".join(
        f"--{name.replace('_', '-')} {shlex.join(map(text_of, value if isinstance(value, list) else [value]))}"
        for name, value in given.items()
    )


def text_of(value: Any) -> str:
    """One value on the command line."""
    return as_json(value) if isinstance(value, bool | dict) else str(value)


def one_of(names: Iterable[str]) -> str:
    """A wildcard's pattern for these names; one that nothing matches where there is none."""
    return "|".join(map(re.escape, names)) or "(?!)"


class Plan:
    """The configuration, asked by what it means."""

    def __init__(self, config: dict):
        self.config = config

    def setting(self, *keys: str) -> Any:
        """A value of the configuration; the error names the first key that is not there."""
        return configuration.setting(self.config, *keys)

    def flags(self, *keys: str) -> str:
        """Settings that are arguments of a step, one flag each."""
        return arguments(dict(sorted(self.setting(*keys).items())))

    # Networks

    def kind_of(self, name: str) -> str:
        """How a network is made: its trainer; for a published one the layout of its checkpoint."""
        row = self.setting("networks", name)
        return row["trainer"] if "trainer" in row else self.setting("checkpoints", row["published"], "layout")

    def weights_of(self, name: str) -> str:
        """A network's file below the folder of the networks."""
        return WEIGHTS.get(self.kind_of(name), "{name}.safetensors").format(name=name)

    def network(self, name: str) -> str:
        """The weights of a base model: the released file, or where this run makes them."""
        released = RELEASED / self.weights_of(name)
        may_be_released = self.config["base_models"] == "released" and "trainer" in self.setting("networks", name)
        if may_be_released and released.exists():
            return str(released)
        return f"<results>/models/{self.weights_of(name)}"

    def optional_network(self, name: str | None) -> str | list:
        """The weights of a network, or no input where the configuration names none."""
        return self.network(name) if name else []

    def networks_of(self, *kinds: str) -> list[str]:
        """Names of the configured networks of some kinds: a trainer, or the layout of a published checkpoint."""
        return [name for name in self.config["networks"] if self.kind_of(name) in kinds]

    def made_by(self, key: str) -> dict[str, str]:
        """The networks that are trained (`trainer`) or converted (`published`): by their file below the folder."""
        return {self.weights_of(name): name for name, row in self.config["networks"].items() if key in row}

    def trained(self, weights: str) -> dict:
        """The row of the network behind a file that is trained."""
        return self.setting("networks", self.made_by("trainer")[weights])

    def trainer_of(self, weights: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """The module that trains a file's network, and what it reads of both sets."""
        return TRAINERS[self.trained(weights)["trainer"]]

    def judged_on(self, *trainers: str) -> str | None:
        """The one set that the networks of some trainers are measured on; none without such networks."""
        sets = {self.setting("networks", name, "test") for name in self.networks_of(*trainers)}
        if len(sets) > 1:
            raise UserError(f"networks with the trainer {' or '.join(trainers)} name several test sets: {sorted(sets)}")
        return next(iter(sets), None)

    def training_inputs(self, wildcards) -> dict[str, Any]:
        """What the trainer of a file reads, by its arguments."""
        row, (module, train, test) = self.trained(wildcards.weights), self.trainer_of(wildcards.weights)
        given = {f"train_{Path(file).stem}": f"<results>/data/{row['train']}/{file}" for file in train}
        given |= {f"test_{Path(file).stem}": f"<results>/data/{row['test']}/{file}" for file in test}
        given |= {role: self.network(row[role]) for role in ROLES if role in row}
        return {"code": files_of(module), **given}

    # Data sets and detectors

    def detector(self, name: str) -> dict:
        """A row of `detectors`: module, network and params."""
        return self.setting("detectors", name)

    def is_rehearsal(self) -> bool:
        """Whether published networks and pictures are only imitated."""
        return self.config["base_models"] == "random"

    def collection_of(self, name: str) -> str | None:
        """The collection that a data set takes its pictures from, if it does."""
        return self.setting("datasets", name).get("collection")

    def explicit_sets(self) -> list[str]:
        """Names of the sets whose pictures no figure may show sharp."""
        marks = {}
        for name, row in self.config["datasets"].items():
            collection = self.setting("collections", row["collection"]) if "collection" in row else {}
            marks[name] = {**row["params"], **collection}.get("explicit", False)
        return [name for name, mark in marks.items() if mark is not False]

    # What must be there before anything is planned: Snakemake would go on with older results.

    def check(self) -> None:
        """Raise UserError for the first thing that the configuration names and that is not there."""
        for row in self.config["datasets"].values():
            files_of(f"palimpsest.worlds.{row['world']}")
        for row in self.config["detectors"].values():
            files_of(f"palimpsest.judges.{row['module']}")
        for name, row in self.config["networks"].items():
            self.kind_of(name)
            for key in {"train", "test"} & row.keys():
                self.setting("datasets", row[key])
            for key in set(ROLES) & row.keys():
                self.setting("networks", row[key])


class Family(Plan):
    """A family's plan: what its rules, and the report about it, need to know."""

    family: str

    def own(self, *keys: str) -> Any:
        """A value of the family's part of the configuration."""
        return self.setting(self.family, *keys)

    def models(self) -> list[str]:
        """The models whose edits the family compares."""
        return self.own("models")

    def groups(self) -> dict[str, list[str]]:
        """The family's measurement files, by the name under which tables and figures ask for them."""
        raise NotImplementedError

    def lists(self) -> dict[str, Any]:
        """What all of the family's tables and figures may ask for: models, methods, sets by role."""
        raise NotImplementedError

    def oracles(self, model: str) -> dict[str, str]:
        """Networks that were trained as a model was, by what they lack: "" is all that is forgotten."""
        found = self.own().get("oracles", {}).get(model, {})
        return {"": found} if isinstance(found, str) else found

    def fetched_checkpoints(self) -> set[str]:
        """The files of the catalogue of checkpoints, where they lie once they are fetched."""
        rows = self.config.get("checkpoints", {}).items()
        return {f"resources/checkpoints/{name}/{file}" for name, row in rows for file in row["files"]}

    def others(self, model: str) -> dict[str, dict]:
        """Checkpoints that others edited, by names of the user's: path, and what `models.edit_table` says of a row."""
        return {}

    def others_rows(self, model: str) -> str:
        """What is said of them, as an argument; none without them."""
        rows = [
            {"method": row["method"], "target": row["concept"], "format": row["format"], "setting": name}
            for name, row in self.others(model).items()
        ]
        return arguments({"about": {"rows": rows}}) if rows else ""

    def compared_sets(self) -> list[str]:
        """The data sets that what models draw is only compared with."""
        return []

    def edits(self) -> list[str]:
        """The tables of edited models that the family makes, an `edits.parquet` each: what audits read."""
        return []

    def of(self, *keys: str) -> Callable:
        """A params function: a value of the family's part of the configuration, keys filled from the wildcards."""
        return lambda wildcards: self.own(*(key.format(**wildcards) for key in keys))


class Studies(Family):
    """The plan of a family whose methods edit models in studies."""

    @property
    def wildcards(self) -> dict[str, str]:
        """The patterns of the wildcards that the rules of a study share."""
        return {
            "model": one_of(self.own("models")),
            "study": one_of(self.own("studies")),
            "method": one_of(self.own("methods")),
        }

    def methods_of(self, study: str) -> list[str]:
        """The methods of a study: its own, or all, but for those that it does without."""
        row = self.own("studies", study)
        return [name for name in row.get("methods") or self.own("methods") if name not in row.get("without", [])]

    def module_of(self, method: str) -> str:
        """The module of a method, which several methods may be settings of."""
        return self.own("methods").get(method, {}).get("module", method)

    def runs_of(self, study: str, method: str) -> list[dict]:
        """Every run of a method in a study."""
        raise NotImplementedError

    def plan_of(self, wildcards) -> str:
        """The runs of a job of a study."""
        return as_json({"runs": self.runs_of(wildcards.study, wildcards.method)})

    def measurements_of(self, model: str, study: str, method: str) -> str:
        """What a study measures of a method: of a tuning the released file, or where this run measures it."""
        if study == self.own("tuning_study"):
            asked = {"runs": self.runs_of(study, method), "sizes": self.tuning_sizes()}
            if released := self.released_tuning(model, method, asked, self.tuning_judges()):
                return released
        return f"<results>/{self.family}/{model}/{study}/{method}/measurements.parquet"

    def tuned_on(self, wildcards) -> str:
        """What the tuning measured of a method."""
        return self.measurements_of(wildcards.model, self.own("tuning_study"), wildcards.method)

    def released_tuning(self, model: str, method: str, asked: dict, judges: list[str]) -> str | None:
        """What a tuning measured and was released: of this very model, of the runs and sizes asked for, by the judges.

        judges: their networks' files.
        """
        folder = TUNINGS / self.family / model
        ours = all(path.startswith(str(RELEASED)) for path in (self.network(model), *judges))
        if not (folder / "record.json").exists() or not ours:
            return None
        found = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        network = json.loads((RELEASED / f"{model}.json").read_text(encoding="utf-8"))
        made = found["methods"].get(method, {"runs": [], "sizes": {}, "judges": []})
        recipes = [as_json([list(map(with_changes, each["runs"])), each["sizes"]]) for each in (made, asked)]
        parts = {part: network[part]["sha256"] for part in ("autoencoder", "visual") if part in network}
        same = {"network": network["sha256"], **parts}.items() <= found.items() and recipes[0] == recipes[1]
        same = same and made["judges"] == sorted({recorded_hash(path) for path in set(judges)})
        return str(folder / f"{method}.parquet") if same else None

    def tuning_judges(self) -> list[str]:
        """The networks by which a tuning is measured."""
        raise NotImplementedError

    def tuning_sizes(self) -> dict:
        """How much a tuning measures, where a table says it: a released one must have measured as much."""
        return {}

    def released_tunings(self) -> list[str]:
        """The methods whose tuning this run takes as it was released, of all models."""
        study = self.own("tuning_study")
        return [
            method
            for method in self.methods_of(study)
            if not all(self.is_made(model, study, method) for model in self.own("models"))
        ]

    def is_made(self, model: str, study: str, method: str) -> bool:
        """Whether this run edits models in a study by a method: it does not where it takes what was released."""
        return self.measurements_of(model, study, method).startswith("<results>")


def recorded_hash(released: str) -> str:
    """The sha256 of a released network's file, as its record has it."""
    return json.loads(Path(released).with_suffix(".json").read_text(encoding="utf-8"))["sha256"]


def with_changes(run: dict) -> dict:
    """A run with what its option changes in its place."""
    made = {key: value for key, value in run.items() if key != "changes"}
    for key, value in run.get("changes", {}).items():
        made[key] = {**made.get(key, {}), **value} if isinstance(value, dict) else value
    return made
