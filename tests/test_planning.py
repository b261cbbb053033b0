"""What Snakemake plans, and that one at a time runs in a folder: nothing here waits for the smoke run."""

import re
import subprocess
import sys
import time

import pytest
import yaml

from conftest import ROOT, SMOKE, copy_of_the_project, snakemake

pytestmark = pytest.mark.workflow


def test_a_second_snakemake_in_the_same_folder_is_refused_and_the_first_goes_on(tmp_path):
    folder = copy_of_the_project(tmp_path / "twice")
    source = folder / "src/palimpsest/worlds/make.py"
    source.write_text(
        "import pathlib, time\n"
        'pathlib.Path("working").touch()\n'
        'while not pathlib.Path("go").exists():\n    time.sleep(0.1)\n' + source.read_text()
    )
    target = ("--", "results/smoke/data/forget_test/images.npy")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *SMOKE, *target]
    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    deadline = time.monotonic() + 120
    while not (folder / "working").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    second = snakemake(folder, *SMOKE, *target, check=False)
    assert second.returncode != 0 and "cannot be locked" in second.stdout and "--unlock" in second.stdout
    (folder / "go").touch()
    assert first.wait(timeout=120) == 0, (tmp_path / "log").read_text()[-3000:]
    assert "Nothing to be done" in snakemake(folder, *SMOKE, *target).stdout


@pytest.mark.parametrize("experiment", ["mini", "small"])
def test_every_experiment_can_be_planned(experiment):
    done = snakemake(ROOT, "--dry-run", "--nolock", "--configfile", f"config/{experiment}.yaml")
    assert "lcr_replace" in done.stdout or "Nothing to be done" in done.stdout


def test_the_full_experiment_can_be_planned_once_its_pictures_are_there(tmp_path):
    folder = copy_of_the_project(tmp_path / "full")
    alone = ("--config", "families=[lcr]")
    missing = snakemake(folder, "--dry-run", "--configfile", "config/full.yaml", *alone, check=False)
    assert missing.returncode != 0 and "resources/photographs/" in missing.stdout
    for row in yaml.safe_load((ROOT / "config/full.yaml").read_text())["collections"].values():
        (folder / row["path"]).mkdir(parents=True, exist_ok=True)
    shown = snakemake(folder, "--dry-run", "--configfile", "config/full.yaml").stdout
    made = ("fetch", "convert_taming", "convert_diffusion", "take_file", "check_pipeline", "instance_evaluate_prompt")
    for name in (*made, "instance_unlearn", "instance_evaluate", "lcr_replace"):
        assert re.search(rf"^{name} +\d+$", shown, re.MULTILINE), name
    # Nothing of the procedural worlds is left, and nothing is trained but by forgetting.
    assert not re.search(r"^(train_|calibrate_|instance_faulty|instance_repair)\w+ +\d+$", shown, re.MULTILINE)
    assert "tiny_" not in shown and "faces_" not in shown
