# What the rules share: the configuration, the plans made from it, and how a job's files become arguments.
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir, "src")))

from palimpsest.errors import UserError
from palimpsest.plan import configuration
from palimpsest.plan.base import arguments, as_json, one_of
from palimpsest.plan.code import SOURCE, code_of
from palimpsest.plan.families import complete_plans, known_families, refuse_unknown_keys
from palimpsest.plan.paper import Paper, collected, modules_in
from palimpsest.plan.reading import validated
from palimpsest.plan.sources import Sources, stated

# The interpreter that runs Snakemake also runs the steps, without an activated venv; a conda environment's still wins.
os.environ.update(PATH=f"{Path(sys.executable).parent}:{os.environ.get('PATH')}")
# A conda environment runs this checkout's code too.
shell.prefix(f"set -euo pipefail; export PYTHONPATH={shlex.quote(str(SOURCE.resolve()))}; ")


def configured():
    """The plan of each family, that of what is published, that of the report."""
    root = Path.cwd()
    # Snakemake has merged the files already, without the parts that they are composed of.
    parts = configuration.parts(root, workflow.overwrite_configfiles, workflow.config_settings.config)
    config.clear()
    config.update(configuration.merged(parts))
    dropped = configuration.without_nulls(config)
    config.update(validated(config, Path("workflow/schemas/config.schema.yaml"), parts))
    plans = complete_plans(root, config)
    refuse_unknown_keys(config, known_families(root))
    for name in plans:
        config[name].update(validated(config[name], Path(f"workflow/schemas/{name}.schema.yaml"), parts, (name,)))
    sources, paper = Sources(config), Paper(config, plans, dropped)
    for plan in (sources, *plans.values(), paper):
        plan.check()
    return plans, sources, paper


try:
    plans, sources, paper = configured()
except UserError as error:
    raise WorkflowError(str(error)) from None


def paths(wildcards, input, output):
    """The inputs and outputs of a step as its arguments: `--codes results/... --counts results/...`."""
    given = {**dict(input.items()), **dict(output.items())}
    for name in ("code", "files"):  # files: what a step finds by the path of their folder, a parameter
        given.pop(name, None)
    # Several files are a list of Snakemake's own kind.
    return arguments({name: value if isinstance(value, str) else list(value) for name, value in given.items() if value})


def growing(amount, unit):
    """A job's memory or time: so much at first, and so much more at each attempt that a cluster makes."""
    return lambda wildcards, attempt: f"{amount * attempt}{unit}"


def can_typeset():
    """Whether this machine has LaTeX; without it the run makes everything but the PDF, and says so."""
    return shutil.which("latexmk") is not None


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
    # Snakemake's limit of jobs in a second starts a timer at each job, which is renewed every second while anything is
    # ready: after a hundred jobs it looks a hundred times a second for something to do, on half a core. It also makes
    # jobs of an array wait, which the executor then loses. Nothing here needs the limit.
    workflow.scheduler.job_rate_limiter = None
    os.environ.update(PALIMPSEST_STEPS_PER_GPU=str(steps_per_gpu()))


if not can_typeset():
    logger.warning(
        "latexmk is not installed: everything but the PDF is made. To have it too: sudo apt-get install"
        " --no-install-recommends latexmk texlive-latex-base texlive-latex-recommended lmodern"
    )
