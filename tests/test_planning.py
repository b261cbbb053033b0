"""What Snakemake plans, and that one at a time runs in a folder: nothing here waits for the smoke run."""

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from snakemake import cli as snakemake_cli

from conftest import ROOT, SMOKE, configuration, copy_of_the_project, snakemake
from palimpsest.report import notebook

pytestmark = pytest.mark.workflow


def test_a_second_snakemake_in_the_same_folder_is_refused_and_the_first_goes_on(tmp_path):
    """And the first looks for something to do when a job ends, not all the time."""
    folder = copy_of_the_project(tmp_path / "twice")
    source = folder / "src/palimpsest/worlds/make.py"
    source.write_text(
        "import pathlib, time\n"
        'pathlib.Path("working").touch()\n'
        'while not pathlib.Path("go").exists():\n    time.sleep(0.1)\n' + source.read_text(encoding="utf-8"),
        encoding="utf-8",
    )
    target = ("--", *(f"results/smoke/data/{name}/images.npy" for name in ("forget_test", "safe_test")))
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--verbose", *SMOKE, *target]
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        first = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    deadline = time.monotonic() + 120
    while not (folder / "working").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    second = snakemake(folder, *SMOKE, *target, check=False)
    assert second.returncode != 0 and "cannot be locked" in second.stdout and "--unlock" in second.stdout
    (folder / "go").touch()
    assert first.wait(timeout=120) == 0, (tmp_path / "log").read_text(encoding="utf-8")[-3000:]
    assert re.findall(r"Ready jobs: (\d+)", (tmp_path / "log").read_text(encoding="utf-8")) == ["2", "1"]
    assert "Nothing to be done" in snakemake(folder, *SMOKE, *target).stdout


def documented():
    """Every Snakemake command that the documents, the comments and the notebooks' errors tell a user to type."""
    found = {
        notebook.command_of(ROOT / "results/mini", "paper/paper.pdf"),
        notebook.command_of(ROOT / "results/rehearsal"),
    }
    for path in [ROOT / "README.md", *ROOT.glob("*/README.md"), *ROOT.glob("docs/*.md")]:
        found.update(re.findall(r"`(snakemake\s[^`]*)`", path.read_text(encoding="utf-8")))
    settings = [path for kind in ("config", "profiles/*", "workflow/rules") for path in ROOT.glob(f"{kind}/*.*")]
    for path in [ROOT / "Snakefile", *(path for path in settings if path.suffix in (".yaml", ".smk"))]:
        found.update(re.findall(r"`(snakemake\s[^`]*)`", path.read_text(encoding="utf-8")))
        found.update(re.findall(r"^#.*? (snakemake .+?)(?:  |\.?$)", path.read_text(encoding="utf-8"), re.MULTILINE))
    return sorted(" ".join(command.split()) for command in found)


def test_every_documented_command_is_one_that_snakemake_takes():
    commands = documented()
    assert len(commands) > 15 and "snakemake --configfile config/small.yaml" in commands
    for command in commands:
        _, given = snakemake_cli.parse_args(shlex.split(command)[1:])
        missing = [file for file in given.configfile or [] if not Path(ROOT, file).is_file()]
        assert not missing, f"{command}: {missing}"
        named = given.workflow_profile
        profile = yaml.safe_load(Path(ROOT, named or "profiles/default", "profile.yaml").read_text(encoding="utf-8"))
        assert {"cores", "executor"} & profile.keys(), f"{command}: the profile does not say where jobs run"


@pytest.mark.parametrize("experiment", ["mini", "small"])
def test_every_experiment_can_be_planned(experiment):
    done = snakemake(ROOT, "--dry-run", "--nolock", "--configfile", f"config/{experiment}.yaml")
    assert "lcr_replace" in done.stdout or "Nothing to be done" in done.stdout


def test_the_full_experiment_can_be_planned_once_its_pictures_are_there(tmp_path):
    folder = copy_of_the_project(tmp_path / "full")
    alone = ("--config", "families=[lcr]")
    missing = snakemake(folder, "--dry-run", "--configfile", "config/full.yaml", *alone, check=False)
    assert missing.returncode != 0 and "resources/photographs/" in missing.stdout
    own = [row["path"] for row in configuration("full")["collections"].values() if "path" in row]
    for path in own:
        (folder / path).mkdir(parents=True, exist_ok=True)
    for family in ("erasure", "memory"):
        captions = folder / configuration("full")[family]["captions"]
        captions.parent.mkdir(parents=True, exist_ok=True)
        captions.write_text("prompt\na house\n", encoding="utf-8")
    shown = snakemake(folder, "--dry-run", "--configfile", "config/full.yaml").stdout
    made = ("fetch", "convert", "instance_evaluate_prompt")
    for name in (*made, "instance_unlearn", "instance_evaluate", "lcr_replace"):
        assert re.search(rf"^{name} +\d+$", shown, re.MULTILINE), name
    # Who has no access to Stable Diffusion 3 leaves its file out; half of that is refused before anything runs.
    text, part = (folder / "config/full.yaml").read_text(encoding="utf-8"), "    networks/stable_diffusion_3.yaml,\n"
    assert part in text
    (folder / "config/mine.yaml").write_text(text.replace(part, ""), encoding="utf-8")
    without = snakemake(folder, "--dry-run", "--configfile", "config/mine.yaml").stdout
    assert re.search(r"^instance_evaluate +\d+$", without, re.MULTILINE)
    assert not re.search(r"^\w*prompt\w* +\d+$|checkpoints/stable_diffusion_3", without, re.MULTILINE)
    # The table is asked first; where that is left out too, the figure.
    for left, named in {
        "instance: {prompted: null}": "report.instance.tables.prompted has nothing to be made from",
        "{instance: {prompted: null}, report: {instance: {tables: {prompted: null}}}}": (
            "report.instance.figures.prompted has nothing to be drawn from"
        ),
    }.items():
        (folder / "mine.yaml").write_text(left, encoding="utf-8")
        half = snakemake(folder, "--dry-run", "--configfile", "config/full.yaml", "mine.yaml", check=False)
        assert half.returncode != 0 and named in half.stdout
    # Nothing of the procedural worlds is left, and nothing is trained but by forgetting.
    assert not re.search(r"^(train|calibrate_|instance_faulty|instance_repair)\w* +\d+$", shown, re.MULTILINE)
    assert "tiny_" not in shown and "faces_" not in shown
