"""Write the table of profiles/README.md that says what a large run would take: `python profiles/scale.py`.

The experiment `full` is planned as it stands with 1,000 pictures of each kind, and with 100,000 pictures to encode, 12
models, 20 methods and 6 seeds (dry-runs, in a copy of the project with empty files for pictures). The commands that it
would run say how often each network is asked; profiles/unit_costs.csv says what that takes on the GPU it names. A job's
time is that of its start and of the networks; statistics on the processor are not counted.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from table import ROOT, replace_between, rules
from unit_costs import OPERATIONS

from palimpsest.lcr.replace import variants
from palimpsest.plan.configuration import merged, parts, without_nulls

PICTURES = {
    "portraits": 1_000,
    "things": 1_000,
    "celebahq": 30_000,
    "ffhq": 1,
    "ireland_wrong": 4,
    "ireland_repaired": 4,
}
MORE = {**PICTURES, "portraits": 50_000, "things": 50_000}
SEEDS = list(range(6))
SIDES = {"vqgan_gumbel_f8": 32, "vqgan_imagenet_f16_16384": 16}  # cells, of a picture of 256 px
REPLACEMENTS = (
    "random_safe",
    "shuffle_in_mask",
    "nn_embed",
    "nn_decoded",
    "nn_cooccurrence",
    "context_icm",
    "masked_requant",
    "donor_patch",
    "black",
    "blur",
)
GIGABYTE = 1e9


def experiment(full: dict) -> dict:
    """What comes on top of config/full.yaml: 6 VQ-GANs by 10 rules, 6 diffusion models by 10 methods, 6 seeds."""
    codes = {name + copy: {"published": name} for name in SIDES for copy in ("", "_second", "_third")}
    pixels = {f"ddpm_celebahq{copy}": {"published": "ddpm_celebahq"} for copy in ("", *(f"_{n}" for n in range(2, 7)))}
    return {
        "experiment": "scale",
        "collections": {name: {"path": f"resources/photographs/{name}"} for name in PICTURES},
        "datasets": {
            f"{kind}_{half}{suffix}": {"params": {"part": part}}
            for kind in ("forget", "safe")
            for half, part in {"fit": [0, 0.98], "test": [0.98, 1]}.items()
            for suffix in ("", "_squashed")
        },
        "networks": codes | pixels,
        "lcr": {
            "models": list(codes),
            "rules": {name: None for name in full["lcr"]["rules"] if name not in REPLACEMENTS},
            "presets": {name: {"seeds": SEEDS} for name in full["lcr"]["presets"]},
        },
        "instance": {
            "models": list(pixels),
            "studies": {name: {"seeds": SEEDS} for name in full["instance"]["studies"] if name != "tuning"},
        },
        "report": {"lcr": {"figures": {"panels": None}}},
    }


def plan(folder: Path, pictures: dict[str, int], changes: dict) -> tuple[str, float]:
    """The text of a dry-run of `full` with so many pictures and what changes of its configuration, and its seconds."""
    for name in ("Snakefile", "config", "envs", "notebooks", "paper", "profiles", "src", "workflow"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "resources/models", folder / "resources/models")
    for name, count in pictures.items():
        place = folder / "resources/photographs" / name
        place.mkdir(parents=True)
        for number in range(count):
            (place / f"{number:05}.{'jpg' if name == 'celebahq' else 'png'}").touch()
    (folder / "scale.yaml").write_text(yaml.safe_dump(changes), encoding="utf-8")
    started = time.perf_counter()
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--printshellcmds", "--configfile", "config/full.yaml"]
    done = subprocess.run([*command, "scale.yaml"], cwd=folder, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    return done.stdout + done.stderr, time.perf_counter() - started


def commands(shown: str) -> list[tuple[str, dict]]:
    """Each job's rule and its command's arguments by name, JSON and numbers read, lists where there are several."""
    found = []
    for rule, text in re.findall(r"^(?:local)?rule (\w+):\n((?:.+\n)+)", shown, re.MULTILINE):
        line = re.search(r"^(?:Shell command: |\s+)?(python -m palimpsest\S* .*)$", text, re.MULTILINE)
        parts = re.split(r" (?=--[a-z])", line[1].split(" > ")[0]) if line else []
        arguments = {}
        for part in parts[1:]:
            name, *values = shlex.split(part)
            read = [json.loads(value) if re.fullmatch(r"[\[{].*|\d+", value) else value for value in values]
            arguments[name.removeprefix("--")] = read[0] if len(read) == 1 else read
        found.append((rule, arguments))
    return found


def asked_hours(shown: str) -> dict[str, float]:
    """The hours that each rule's jobs ask for at their first attempt."""
    found = re.findall(r"^rule (\w+):\n(?:.+\n)*? +resources: .*?\bruntime=(\d+)", shown, re.MULTILINE)
    return {rule: int(minutes) / 60 for rule, minutes in found}


def set_of(images: str) -> str:
    """The data set of an array of pictures."""
    return Path(images).parent.name


class Scale:
    """How often each network is asked, by rule; and the bytes that are kept."""

    def __init__(self, jobs: list[tuple[str, dict]], pictures: dict[str, int]):
        self.jobs = jobs
        self.sets = {}
        self.models = {}  # unlearned models by (model, study, method)
        for rule, given in jobs:
            if rule == "make_data":
                first, last = given["params"].get("part", [0, 1])
                count = pictures[Path(given["params"]["root"]).name]
                self.sets[set_of(given["images"])] = round(count * last) - round(count * first), given["params"]["size"]
            if rule == "instance_unlearn":
                self.models[given["models"]] = sum(len(run["targets"]) for run in given["plan"]["runs"])

    def sampled(self, params: dict, targets: int) -> float:
        """Passes of the network that one model's judging takes."""
        injected = targets * params["draws"] + params["bystanders"] * params["bystander_draws"]
        share = np.mean(params["timesteps"]) / 1000
        every = params["pairs"] * params["sampling_steps"] + params["sheet"] * params["injection_steps"]
        return every + injected * share * params["injection_steps"]

    def units(self, rule: str, given: dict) -> dict[str, float]:
        """What a job asks of the networks."""
        match rule:
            case "detect":
                # The network that comes with the package, at its own resolution.
                share = (given["params"]["resolution"] / 640) ** 2 / OPERATIONS
                return {"detect": self.sets[set_of(given["images"])][0] * share}
            case "lcr_encode":
                return {"encode": self.sets[set_of(given["images"])][0]}
            case "lcr_reconstruct" | "lcr_replace":
                passes = 1
                if rule == "lcr_replace":
                    module = import_module(f"palimpsest.lcr.rules.{given['rule']}")
                    passes = len(variants(module, given["params"]))
                pictures = passes * self.sets[given["set"]][0]
                return {"decode": pictures, "detect": pictures}
            case "instance_unlearn":
                runs = [(run["training"], len(run["targets"])) for run in given["plan"]["runs"]]
                return {"gradient": sum(2 * each["steps"] * each["batch"] * stages for each, stages in runs)}
            case "instance_evaluate":
                return {"denoise": self.models[given["models"]] * self.sampled(given["params"], 1)}
            case "instance_evaluate_network":
                return {"denoise": self.sampled(given["params"], 12)}
            case "instance_reference":
                return {"denoise": 2 * self.sampled(given["params"], 12)}
            case "instance_conflicts":
                return {"gradient": 12 * len(given["timesteps"]) * 5 * given["batch"]}
            case "instance_prepare_prompt" | "instance_evaluate_prompt":
                sampling, others = given["sampling"], 3 if rule == "instance_evaluate_prompt" else 0
                pictures = sampling["samples"] * (1 + others) if others else sampling["remember"]
                return {"guided_step": pictures * sampling["steps"], "decode_latents": pictures}
            case "instance_unlearn_prompt":
                training = given["training"]
                return {"gradient_of_latents": 2 * training["steps"] * training["batch"]}
        return {}

    def storage(self) -> dict[str, float]:
        """Bytes, by what they hold."""
        found = defaultdict(float)
        published = yaml.safe_load((ROOT / "config/models.yaml").read_text(encoding="utf-8"))["checkpoints"]
        found["published checkpoints (of stated size), and their conversions"] = 2 * sum(
            file.get("size", 0) for row in published.values() for file in row["files"].values()
        )
        found["pictures as arrays"] = sum(count * size**2 * 3 for count, size in self.sets.values())
        found["unlearned diffusion models (455 MB each)"] = 454_741_108 * sum(self.models.values())
        for rule, given in self.jobs:
            if rule not in ("lcr_encode", "lcr_reconstruct", "lcr_replace"):
                continue
            name = given["network"].split("/")[-1].removesuffix(".safetensors")
            cells = next(side for published, side in SIDES.items() if name.startswith(published)) ** 2
            if rule == "lcr_encode":
                found["codes"] += 2 * cells * self.sets[set_of(given["images"])][0]
            elif rule == "lcr_reconstruct":
                found["reconstructions"] += 3 * 256**2 * self.sets[given["set"]][0]
            else:
                module = import_module(f"palimpsest.lcr.rules.{given['rule']}")
                found["edited codes"] += 2 * cells * self.sets[given["set"]][0] * len(variants(module, given["params"]))
        return dict(found)


class Estimate:
    """What a plan takes: jobs, hours in all and of the longest job, and the networks' part of it, by rule."""

    def __init__(self, shown: str, pictures: dict[str, int]):
        jobs, self.asked = commands(shown), asked_hours(shown)
        measured = pd.read_csv(ROOT / "profiles/unit_costs.csv").set_index("unit")
        costs, self.device = measured["seconds"].to_dict(), measured["device"].iloc[0]
        scale = Scale(jobs, pictures)
        self.storage = scale.storage()
        self.jobs, self.hours, self.longest = defaultdict(int), defaultdict(float), defaultdict(float)
        self.networks, self.starting = defaultdict(lambda: defaultdict(float)), defaultdict(float)
        for rule, given in jobs:
            start = costs.get(f"start {rule}", 0.0) / 3600
            parts = {unit: count * costs[unit] / 3600 for unit, count in scale.units(rule, given).items()}
            for unit, hours in parts.items():
                self.networks[rule][unit] += hours
            own = start + sum(parts.values())
            self.jobs[rule] += 1
            self.starting[rule] += start
            self.hours[rule] += own
            self.longest[rule] = max(self.longest[rule], own)
        self.on_gpu = {name for name, text in rules().items() if re.search(r"^ +gpu=", text, re.MULTILINE)}
        self.submitted = sorted((rule for rule in rules() if self.jobs[rule]), key=lambda rule: -self.hours[rule])

    def in_all(self, with_gpu: bool) -> float:
        """Hours of all jobs with a GPU, or of those without."""
        return sum(self.hours[rule] for rule in self.submitted if (rule in self.on_gpu) == with_gpu)


def table(large: Estimate, seconds: float, shipped: Estimate) -> str:
    """The Markdown table of the large run, and a sentence on the one that is shipped."""
    lines = ["| rule | jobs | hours | longest | asked for | of which |", "| --- | --: | --: | --: | --: | --- |"]
    for rule in [rule for rule in large.submitted if large.hours[rule] >= 1]:
        parts = [f"{name} {amount:,.0f}" for name, amount in large.networks[rule].items()]
        parts.append(f"start {large.starting[rule]:,.0f}")
        kind = "" if rule in large.on_gpu else " (no GPU)"
        lines.append(
            f"| `{rule}`{kind} | {large.jobs[rule]:,} | {large.hours[rule]:,.0f} | {large.longest[rule]:,.1f} "
            f"| {large.asked[rule]:,.0f} | {', '.join(parts)} |"
        )
    small = [rule for rule in large.submitted if large.hours[rule] < 1]
    rest, rest_hours = (sum(of[rule] for rule in small) for of in (large.jobs, large.hours))
    lines.append(f"| {len(small)} other rules | {rest:,} | {rest_hours:,.0f} | | | |")
    local = sum(count for rule, count in large.jobs.items() if rule not in rules())
    slowest = max(shipped.longest, key=shipped.longest.get)
    lines += [
        "",
        f"{sum(large.jobs.values()):,} jobs, {local:,} of them local; planned in {seconds:.0f} s. "
        f"**{large.in_all(True):,.0f} GPU hours** ({large.device}), and {large.in_all(False):,.1f} hours of jobs "
        "without a GPU.",
        "",
        "| kept on disk | GB |",
        "| --- | --: |",
        *(f"| {name} | {size / GIGABYTE:,.0f} |" for name, size in large.storage.items()),
        "",
        f"`full` as it stands, with 1,000 pictures of each kind: {sum(shipped.jobs.values()):,} jobs, "
        f"{shipped.in_all(True):,.0f} GPU hours, the longest job (`{slowest}`) {shipped.longest[slowest]:,.1f} hours; "
        f"{sum(shipped.storage.values()) / GIGABYTE:,.0f} GB.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    full = merged(parts(ROOT, [ROOT / "config/full.yaml"], {}))
    without_nulls(full)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        shown, seconds = plan(Path(first), MORE, experiment(full))
        as_shipped = plan(Path(second), PICTURES, {"experiment": "scale"})[0]
    replace_between("scale", table(Estimate(shown, MORE), seconds, Estimate(as_shipped, PICTURES)))
