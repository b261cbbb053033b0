# What the rules share: reading the configuration, finding the code of a step, writing its arguments.
import ast
import json
import os
import shlex
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import grimp
from snakemake.exceptions import WorkflowError

SOURCE = Path("src")
sys.path.insert(0, str(SOURCE.resolve()))

from palimpsest.errors import UserError
from palimpsest.plan.reading import read_yaml, validated

# Each family's rules put a function here that lists its measurement files.
MEASUREMENTS = {}
# And one that gives what all of its tables and figures compare: models, rules, sets.
REPORT_PARAMS = {}
# The interpreter that runs Snakemake also runs the steps, without an activated venv; a conda environment's still wins.
os.environ.update(PATH=f"{Path(sys.executable).parent}:{os.environ.get('PATH')}")
# A conda environment runs this checkout's code too. And freed memory stays with the process: giving every large array's
# pages back and faulting them in again costs two parallel steps a fifth of their time (glibc; others ignore it).
KEEP_MEMORY = "MALLOC_TRIM_THRESHOLD_=4000000000 MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TOP_PAD_=268435456"
shell.prefix(f"set -euo pipefail; export PYTHONPATH={shlex.quote(str(SOURCE.resolve()))} {KEEP_MEMORY}; ")


def without_nulls(row):
    """Remove the keys that a configuration sets to null: how an experiment drops what config/mini.yaml has.

    Gives the names of the removed keys.
    """
    removed = {key for key, value in row.items() if value is None}
    for key in removed:
        del row[key]
    return removed.union(*(without_nulls(value) for value in row.values() if isinstance(value, dict)))


def configuration_sources():
    """What the configuration was put together from, by name; later ones win: the files named here, then the user's."""
    given = workflow.config_settings
    files = [path for path in map(Path.absolute, map(Path, workflow.configfiles)) if path not in given.configfiles]
    try:
        found = [(os.path.relpath(path), read_yaml(path)) for path in [*files, *given.configfiles]]
    except UserError as error:
        raise WorkflowError(str(error)) from None
    return [*found, ("--config", dict(given.config))]


SOURCES = configuration_sources()


def validate(schema, *place):
    """Hold the configuration, or what stands below a path of its keys, to a schema, and fill in what is left out."""
    part = config
    for key in place:
        part = part[key]
    try:
        part.update(validated(part, Path("workflow/schemas") / schema, SOURCES, place))
    except UserError as error:
        raise WorkflowError(str(error)) from None


DROPPED = without_nulls(config)
validate("config.schema.yaml")
# A family is known by its schema, workflow/schemas/<family>.schema.yaml; the configuration has a key of its name.
KNOWN_FAMILIES = {path.name.removesuffix(".schema.yaml") for path in Path("workflow/schemas").glob("*.schema.yaml")}
KNOWN_FAMILIES -= {"config"}
SHARED_KEYS = {"experiment", "base_models", "families", "datasets", "networks", "detectors", "report"}
SHARED_KEYS |= {"checkpoints", "collections"}
for name in sorted(set(config) - SHARED_KEYS - KNOWN_FAMILIES):
    raise WorkflowError(f"the configuration has an unknown key {name!r}; families are {sorted(KNOWN_FAMILIES)}")
for name in sorted({*config["families"], *config["report"]} - (KNOWN_FAMILIES & set(config))):
    raise WorkflowError(f"families or report name {name!r}, which the configuration has no settings for")


@lru_cache
def import_graph():
    """Which module of the package imports which."""
    return grimp.build_graph("palimpsest", cache_dir=".snakemake/grimp")


@lru_cache
def files_of(module):
    """A module's file and those of every module of the package that it imports, transitively."""
    graph = import_graph()
    if module not in graph.modules:
        raise WorkflowError(f"{module} is configured but {SOURCE}/{module.replace('.', '/')}.py does not exist.")
    files = (SOURCE / Path(*name.split(".")) for name in {module, *graph.find_upstream_modules(module)})
    return sorted(str(path / "__init__.py" if path.is_dir() else path.with_suffix(".py")) for path in files)


def code_of(*modules):
    """The code of a step as an input; a name such as palimpsest.lcr.rules.{rule} is filled from the wildcards."""
    if not any("{" in module for module in modules):
        return [path for module in modules for path in files_of(module)]
    return lambda wildcards: [path for module in modules for path in files_of(module.format(**wildcards))]


def paths(wildcards, input, output):
    """The inputs and outputs of a step as its arguments: `--codes results/... --counts results/...`."""
    given = {**dict(input.items()), **dict(output.items())}
    for name in ("code", "files"):  # files: what a step finds by the path of their folder, a parameter
        given.pop(name, None)
    return " ".join(
        f"--{name.replace('_', '-')} {shlex.join(map(str, [value] if isinstance(value, str) else value))}"
        for name, value in given.items()
        if value
    )


def as_json(value):
    """A parameter's text on the command line: keys in order, so that a reordered configuration changes nothing."""
    return json.dumps(value, sort_keys=True)


def setting(*keys):
    """A value of the configuration; the error names the first key that is not there."""
    value = config
    for depth, key in enumerate(keys):
        if not isinstance(value, dict) or key not in value:
            raise WorkflowError(
                f"the configuration has no {'.'.join(keys[: depth + 1])} (experiment {config['experiment']})"
            )
        value = value[key]
    return value


def growing(amount, unit):
    """A job's memory or time: so much at first, and so much more at each attempt that a cluster makes."""
    return lambda wildcards, attempt: f"{amount * attempt}{unit}"


def flags(*keys):
    """Settings that are arguments of a step, one flag each."""
    given = {name: value if isinstance(value, list) else [value] for name, value in setting(*keys).items()}
    return " ".join(f"--{name.replace('_', '-')} {' '.join(map(str, values))}" for name, values in given.items())


def kind_of(row):
    """How a network is made: its trainer; for a published one the layout of its checkpoint."""
    return row["trainer"] if "trainer" in row else setting("checkpoints", row["published"], "layout")


def weights_of(name):
    """A network's file below its folder: a diffusion model lies in the layout of the Hub, a single file stays one.

    A pipeline stays where it is: its file says where.
    """
    kind = kind_of(setting("networks", name))
    if kind in ("ddpm", "diffusion"):
        return f"{name}/unet/diffusion_pytorch_model.safetensors"
    return name + {"torchscript": ".pt", "state_dict": ".pt", "onnx": ".onnx", "pipeline": ".json"}.get(
        kind, ".safetensors"
    )


def network(name):
    """The weights of a base model: the released file, or where this run makes them."""
    file = weights_of(name)
    released = Path("resources/models") / file
    if config["base_models"] == "released" and released.exists() and "trainer" in setting("networks", name):
        return str(released)
    return f"<results>/models/{file}"


wildcard_constraints:
    set="|".join(config["datasets"]),
    network="|".join(config["networks"]),
    model="|".join(config["networks"]),
    family="|".join(config["families"]),


def networks_of(*kinds):
    """Names of the configured networks of some kinds: a trainer, or the layout of a published checkpoint."""
    return [name for name, row in config["networks"].items() if kind_of(row) in kinds]


def made_from(*kinds):
    """A wildcard's pattern for the networks of some kinds; one that nothing matches where there is none."""
    return "|".join(networks_of(*kinds)) or "(?!)"


def optional_network(name):
    """The weights of a network, or no input where the configuration names none."""
    return network(name) if name else []


def detector(name):
    """A row of `detectors`: module, network and params."""
    return setting("detectors", name)


def is_procedural():
    """Whether every data set is drawn, not photographed."""
    return all(row["world"] != "folder" for row in config["datasets"].values())


def explicit_sets():
    """Names of the sets whose pictures no figure may show sharp."""
    return [name for name in config["datasets"] if params_of_set(name).get("explicit", False) is not False]


def training_data(role):
    """An input function: an array of the set that a network is trained on."""
    return lambda wildcards: f"<results>/data/{setting('networks', wildcards.network, 'train')}/{role}"


def held_out_data(role):
    """An input function: an array of the set that a network is measured on."""
    return lambda wildcards: f"<results>/data/{setting('networks', wildcards.network, 'test')}/{role}"


def on_cluster():
    """Whether jobs are sent elsewhere: only then is a number of GPUs that of one job."""
    return "gpu" in workflow.resource_settings.overwrite_resource_scopes


def refuse_missing_programs():
    """Stop where the executor would ask a program that is not there, and wait for ever."""
    if on_cluster() and not shutil.which("sacct"):
        raise WorkflowError(
            "the executor asks `sacct` before it sends a job, and there is no such program here. Put an empty one on the"
            " PATH: install -m 755 <(echo '#!/bin/sh') .venv/bin/sacct"
        )


def steps_per_gpu():
    """How many steps share a GPU: `resources: steps_per_gpu` of the profile."""
    shared = workflow.global_resources.get("steps_per_gpu")
    return 1 if shared is None or shared.value is None else shared.value


def refuse_missing_gpus():
    """Stop where the profile counts on more GPUs than this machine has."""
    asked = workflow.global_resources.get("gpu")
    if asked is None or asked.value is None or on_cluster():
        return
    command, listed = ["nvidia-smi", "--list-gpus"], ""
    if shutil.which(command[0]):
        listed = subprocess.run(command, capture_output=True, encoding="utf-8", check=False).stdout
    shown = sum(line.startswith("GPU") for line in listed.splitlines())
    if chosen := os.environ.get("CUDA_VISIBLE_DEVICES"):
        shown = min(shown, len([one for one in chosen.split(",") if one != "-1"]))
    if shown * steps_per_gpu() < asked.value:
        raise WorkflowError(
            f"gpu={asked.value} is asked for, and this machine shows {shown} (nvidia-smi, CUDA_VISIBLE_DEVICES), each"
            f" for steps_per_gpu={steps_per_gpu()} at once. Correct `resources` in profiles/gpu/profile.yaml, or omit"
            " that profile to use the CPU."
        )


onstart:  # not of a dry-run, nor of a job that is sent: where nothing is computed, nothing can be missing
    refuse_missing_gpus()
    refuse_missing_programs()
    os.environ.update(PALIMPSEST_STEPS_PER_GPU=str(steps_per_gpu()))


# What the configuration names must be there before anything is planned: Snakemake would go on with older results.
for row in config["datasets"].values():
    files_of(f"palimpsest.worlds.{row['world']}")
for row in config["detectors"].values():
    files_of(f"palimpsest.judges.{row['module']}")
for row in config["networks"].values():
    kind_of(row)
    for key in {"train", "test"} & row.keys():
        setting("datasets", row[key])
