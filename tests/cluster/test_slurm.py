"""profiles/slurm on a real SLURM of one node: `make slurm-test` installs what it needs. Left out of `make test`."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, SMOKE, copy_of_the_project, heed_interrupts, snakemake, tables

pytestmark = pytest.mark.slurm
# A part of the smoke experiment that has every kind of job: of groups, of arrays, with and without a GPU, and local.
PART = {
    "families": ["lcr"],
    "networks": dict.fromkeys(["tiny_gumbel_first", "tiny_gumbel_second", "tiny_gumbel"]),
    "lcr": {
        "models": ["tiny_vq"],
        "released_preset": "corrected",
        "presets": {"reproduce_2025": None},
        "rules": dict.fromkeys(["masked_requant", "nn_embed", "shuffle_in_mask", "twin", "black", "learned_map"]),
    },
    "report": {"lcr": {"tables": {"presets": None}}},
}
# Short waits: the first look at a job comes after so many seconds.
PROFILE = ("--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "3")
# The step that is made to fail, and the sets it makes, one job each.
STEP = "src/palimpsest/worlds/make.py"
ALONE = ("--group-components", "data=1")


def script(verb: str, folder: Path) -> str:
    """What tests/cluster/slurm.sh prints."""
    command = ["bash", str(ROOT / "tests/cluster/slurm.sh"), verb, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A SLURM of one node; its programs are on the PATH of what the tests start."""
    folder = tmp_path_factory.mktemp("slurm")
    before = dict(os.environ)
    try:
        script("start", folder)
        os.environ |= {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
        os.environ["PALIMPSEST_DEVICE"] = "cpu"  # what SLURM hands out as a GPU is none
        yield folder
    finally:
        script("stop", folder)
        os.environ.clear()
        os.environ |= before


def part_of_the_project(folder: Path) -> Path:
    """A copy of the project whose experiment `smoke` is the part."""
    copy_of_the_project(folder)
    (folder / "part.yaml").write_text(yaml.safe_dump(PART), encoding="utf-8")
    return folder


@pytest.fixture
def project(cluster, tmp_path) -> Path:
    return part_of_the_project(tmp_path / "project")


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Path:
    """Where the part has run without SLURM."""
    folder = part_of_the_project(tmp_path_factory.mktemp("local"))
    snakemake(folder, *SMOKE, "part.yaml")
    return folder


def jobs() -> dict[str, dict[str, str]]:
    """Everything that SLURM says of every job that it ever had, by number."""
    shown = subprocess.run(
        ["scontrol", "show", "job", "--oneliner"], capture_output=True, encoding="utf-8", check=True
    ).stdout
    rows = [dict(pair.split("=", 1) for pair in line.split() if "=" in pair) for line in shown.splitlines()]
    return {row["JobId"]: row for row in rows if "JobId" in row}


def start(project: Path, *arguments: str) -> subprocess.Popen:
    """Snakemake on the cluster, in the background; its text goes to the file `shown`."""
    command = [sys.executable, "-m", "snakemake", *PROFILE, *SMOKE, "part.yaml", *arguments]
    with (project / "shown").open("w", encoding="utf-8") as shown:
        return subprocess.Popen(
            command, cwd=project, stdout=shown, stderr=shown, start_new_session=True, preexec_fn=heed_interrupts
        )


def run(project: Path, *arguments: str, fails: bool = False) -> str:
    """Snakemake on the cluster, to its end; what it says."""
    process = start(project, *arguments)
    process.wait(timeout=2400)
    shown = (project / "shown").read_text(encoding="utf-8")
    assert (process.returncode != 0) == fails, shown[-6000:]
    return shown


def data(*names: str) -> tuple[str, ...]:
    return ("--", *(f"results/smoke/data/{name}/images.npy" for name in names))


def inject(project: Path, faults: dict[str, str]) -> None:
    """Let the step that makes the data do something else first, by set; `first` is true at the set's first attempt.

    Every attempt writes the number of its job of SLURM to `attempts/<set>`.
    """
    (project / "attempts").mkdir(exist_ok=True)
    lines = [f'    elif name == "{name}":\n        {fault}\n' for name, fault in faults.items()]
    text = (
        "import os, signal, subprocess, sys, time\n"
        'if "--images" in sys.argv:\n'
        '    name = sys.argv[sys.argv.index("--images") + 1].split("/")[-2]\n'
        '    attempts = f"attempts/{name}"\n'
        "    first = not os.path.exists(attempts)\n"
        '    with open(attempts, "a") as file:\n'
        '        file.write(os.environ["SLURM_JOB_ID"] + "\\n")\n'
        "    if False:\n"
        "        pass\n"
    ) + "".join(lines)
    (project / STEP).write_text(text + (ROOT / STEP).read_text(encoding="utf-8"), encoding="utf-8")


def attempts(project: Path, name: str) -> list[str]:
    """The states of the jobs in which a set was tried, in their order."""
    known = jobs()
    return [known[number]["JobState"] for number in (project / "attempts" / name).read_text(encoding="utf-8").split()]


def wait_for(condition, process: subprocess.Popen, project: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, (project / "shown").read_text(encoding="utf-8")[
            -4000:
        ]
        time.sleep(0.2)


def test_a_run_gives_the_local_runs_tables(local, project):
    """And groups, arrays and GPUs reach SLURM as the table says."""
    earlier = jobs().keys()
    shown = run(project)
    here, there = tables(local), tables(project)
    assert here.keys() == there.keys() and len(here) > 30
    assert [name for name in here if here[name] != there[name]] == []
    made = [row for number, row in jobs().items() if number not in earlier]
    assert {row["JobState"] for row in made} == {"COMPLETED"} and len(made) > 10
    # No job holds more than one GPU, and those of a group share one.
    assert {row.get("TresPerJob", "") for row in made} == {"", "gres:gpu:1"}
    assert {row["Partition"] for row in made if "TresPerJob" in row} == {"gpu"}
    assert {row["Partition"] for row in made if "TresPerJob" not in row} == {"cpu"}
    # Groups and arrays: far fewer submissions than steps. How many arrays there are depends on the machine: an array is
    # what was ready at once.
    steps = int(re.search(r"^(\d+) of \1 steps", shown, re.MULTILINE)[1])
    arrays = [row["ArrayJobId"] for row in made if "ArrayJobId" in row]
    assert len(made) < steps / 2 and len(set(arrays)) < len(arrays) / 2
    # There is no accounting here: the run needs none, and its report of efficiency is left out.
    assert subprocess.run(["sacct"], capture_output=True).returncode != 0
    assert "Failed to retrieve job data" in shown and not list((project / "results/slurm").glob("*.csv"))
    assert "Nothing to be done" in run(project)


def test_a_job_that_dies_is_retried_with_more_and_one_that_cannot_succeed_loses_nothing(cluster, project):
    rules = project / "workflow/rules/data.smk"
    less = re.sub(r'mem=growing\(.+?"\)', 'mem=growing(2, "GB")', rules.read_text(encoding="utf-8"))
    rules.write_text(re.sub(r'runtime=growing\(.+?"\)', 'runtime=growing(1, "m")', less), encoding="utf-8")
    names = ("forget_fit", "safe_fit", "forget_test", "safe_test", "twin_test")
    faults = {
        "forget_fit": "first and os.kill(os.getpid(), signal.SIGKILL)",
        "safe_fit": 'first and subprocess.run(["scancel", os.environ["SLURM_JOB_ID"]]) and time.sleep(60)',
        # 2 GB are asked for at first, and one minute.
        "forget_test": 'held = b"x" * 2_600_000_000; time.sleep(8)',
        "safe_test": "time.sleep(95)",
        "twin_test": 'if not os.path.exists("mended"): raise SystemExit("the disk of node 17 is broken")',
    }
    inject(project, faults)
    shown = run(project, *ALONE, *data(*names), fails=True)
    assert attempts(project, "forget_fit") == ["FAILED", "COMPLETED"]
    assert attempts(project, "safe_fit") == ["CANCELLED", "COMPLETED"]
    assert attempts(project, "forget_test") == ["FAILED", "COMPLETED"]
    assert attempts(project, "safe_test") == ["TIMEOUT", "COMPLETED"]
    assert attempts(project, "twin_test") == ["FAILED"] * 3
    known = jobs()
    numbers = {name: (project / "attempts" / name).read_text(encoding="utf-8").split() for name in names}
    assert f"StepId={numbers['forget_test'][0]}.0 exceeded memory limit" in (cluster / "log/slurmd.log").read_text(
        encoding="utf-8"
    )
    assert [known[number]["MinMemoryNode"] for number in numbers["forget_test"]] == ["2000M", "4000M"]
    assert [known[number]["TimeLimit"] for number in numbers["safe_test"]] == ["00:01:00", "00:02:00"]
    # What failed is named with its log, whose text is shown; what succeeded is there.
    assert "the disk of node 17 is broken" in shown and "results/smoke/logs/data/twin_test.log" in shown
    assert [(project / f"results/smoke/data/{name}/images.npy").exists() for name in names] == [True] * 4 + [False]
    (project / "mended").touch()
    shown = run(project, *ALONE, *data(*names))
    assert "1 of 1 steps (100%) done" in shown and (project / "results/smoke/data/twin_test/images.npy").exists()


def test_a_job_whose_node_dies_is_queued_again_and_the_run_goes_on(cluster, project):
    inject(project, {"forget_fit": "first and time.sleep(600)"})
    process = start(project, *ALONE, *data("forget_fit"))
    wait_for((project / "attempts/forget_fit").exists, process, project)
    script("stop-node", cluster)
    number = (project / "attempts/forget_fit").read_text(encoding="utf-8").strip()
    try:
        wait_for(lambda: jobs()[number]["JobState"] != "RUNNING", process, project)
    finally:
        script("start-node", cluster)
    assert process.wait(timeout=240) == 0, (project / "shown").read_text(encoding="utf-8")[-4000:]
    # The same job a second time: Snakemake did not have to ask.
    assert (project / "attempts/forget_fit").read_text(encoding="utf-8").split() == [number, number]
    assert jobs()[number]["Restarts"] == "1" and (project / "results/smoke/data/forget_fit/images.npy").exists()


def test_a_killed_snakemake_goes_on_where_it_was(local, project):
    """Its jobs stay in the queue, and are cancelled by the name that it gave them; then the run goes on."""
    inject(project, {"forget_fit": "first and time.sleep(600)"})
    wanted = (*ALONE, *data("forget_fit", "safe_fit"))
    process = start(project, *wanted)
    made = project / "results/smoke/data/safe_fit/manifest.parquet"
    wait_for(lambda: (project / "attempts/forget_fit").exists() and made.exists(), process, project)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    shown = (project / "shown").read_text(encoding="utf-8")
    name = re.search(r"SLURM run ID: (\S+)", shown)[1]
    number = (project / "attempts/forget_fit").read_text(encoding="utf-8").strip()
    assert jobs()[number]["JobState"] == "RUNNING" and jobs()[number]["JobName"] == name
    shown = run(project, *wanted, fails=True)
    assert "--unlock" in shown
    subprocess.run(["scancel", "--name", name], check=True)
    run(project, "--unlock")
    run(project, *wanted)
    assert attempts(project, "forget_fit") == ["CANCELLED", "COMPLETED"]
    for path in project.glob("results/smoke/data/*_fit/images.npy"):
        assert path.read_bytes() == (local / path.relative_to(project)).read_bytes()
    assert not list(project.glob("results/**/.partial-*"))
