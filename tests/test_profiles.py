"""The profiles for clusters and for machines with GPUs: what reaches SLURM, rule by rule, without a cluster."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, copy_of_the_project, path_without, snakemake

PROFILES = ROOT / "profiles"
# Between them these plan every rule.
EXPERIMENTS = (("config/smoke.yaml",), ("config/rehearsal.yaml",))
pytestmark = pytest.mark.workflow


def profile(name: str) -> dict:
    return yaml.safe_load((PROFILES / name / "profile.yaml").read_text(encoding="utf-8"))


def table() -> dict[str, tuple[str, str]]:
    """Rule, sbatch's flags and how it is sent, as profiles/README.md says."""
    rows = re.findall(
        r"^\| `(\w+)` \| `([^`]*)` \| ([^|]*) \|$", (PROFILES / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    return {rule: (flags, sent) for rule, flags, sent in rows}


def jobs_of(shown: str) -> list[dict[str, str]]:
    """The jobs that a dry run shows: rule, input, output, resources ..., each as its text."""
    return [
        {"rule": rule, **dict(re.findall(r"^    ([a-z]+): (.*)$", text, re.MULTILINE))}
        for rule, text in re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", shown, re.MULTILINE)
    ]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return copy_of_the_project(tmp_path_factory.mktemp("profiles"))


@pytest.fixture(scope="module")
def planned(project) -> list[list[dict[str, str]]]:
    """Every job of each experiment."""
    return [jobs_of(snakemake(project, "--dry-run", "--configfile", *files).stdout) for files in EXPERIMENTS]


def values(arguments: list[str]) -> dict[str, str]:
    """sbatch's options by name: `-t 30 --mem=2 --requeue` gives -t, --mem and --requeue."""
    given = {}
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument.startswith("-"):
            name, equals, value = argument.partition("=")
            given[name] = value if equals or following.startswith("-") else following
    return given


@pytest.fixture
def programs(tmp_path) -> Path:
    """A folder of stand-ins for SLURM's programs, which comes first on the PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("sbatch", "squeue", "sacct", "sacctmgr", "scontrol", "sinfo", "scancel"):
        shutil.copy2(ROOT / "tests/doubles/sbatch", folder / name)
    return folder


def submitted(project: Path, programs: Path, wanted: int, *arguments: str) -> list[dict[str, str]]:
    """What sbatch is told of the first jobs, as many as are wanted."""
    record = programs / "record"
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "SBATCH_RECORD": str(record)}
    command = [sys.executable, "-m", "snakemake", *arguments]
    with (programs / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=project, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
            if len(lines) >= wanted:
                break
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    shutil.rmtree(project / ".snakemake/locks", ignore_errors=True)
    assert len(lines) == wanted, (programs / "log").read_text(encoding="utf-8")[-3000:]
    return [values(line.split("\t")[:-1]) for line in lines]


def without_inputs(folder: Path) -> Path:
    """A copy of the project whose rules need nothing, so that one job of each is ready at once."""
    folder = copy_of_the_project(folder)
    for path in (folder / "workflow/rules").glob("*.smk"):
        path.write_text(
            re.sub(r"^    input:\n(?:        .*\n)+", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE),
            encoding="utf-8",
        )
    return folder


def test_the_table_has_every_rule_that_is_no_local_one():
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk")]
    found = [pair for text in texts for pair in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", text, re.MULTILINE)]
    assert {name for name, body in found if "localrule: True" not in body} == table().keys()


@pytest.mark.parametrize("number", range(len(EXPERIMENTS)))
def test_every_rule_asks_sbatch_for_what_the_table_says(planned, programs, tmp_path, number):
    folder = without_inputs(tmp_path / "project")
    jobs = {job["rule"]: job for job in planned[number] if job["rule"] in table()}
    # Alone, so that each rule is seen: groups and arrays have a test of their own.
    alone = {key: value for key, value in profile("slurm").items() if "group" not in key and "array" not in key}
    (folder / "alone.yaml").write_text(yaml.safe_dump(alone), encoding="utf-8")
    targets = [job["output"].split(", ")[0] for job in jobs.values()]
    arguments = ("--workflow-profile", "alone.yaml", "--configfile", *EXPERIMENTS[number], "--")
    seen = {
        re.match(r"rule_(\w+?)(_wildcards_|$)", given["--comment"])[1]: given
        for given in submitted(folder, programs, len(jobs), *arguments, *targets)
    }
    assert seen.keys() == jobs.keys()
    same_for_all = {"--parsable", "--job-name", "--output", "--export", "--comment", "--requeue", "-D"}
    for rule, given in seen.items():
        asked = values(table()[rule][0].split())
        asked["-p"] = "gpu" if "--gpus" in asked else "cpu"
        assert {name: text for name, text in given.items() if name not in same_for_all} == asked, rule


@pytest.mark.parametrize("remedy", [False, True])
def test_a_cluster_without_the_program_sacct_says_so_and_takes_an_empty_one(project, programs, tmp_path, remedy):
    (programs / "sacct").unlink()
    if remedy:
        command = re.search(r"`(install -m 755 .*?sacct)`", (PROFILES / "README.md").read_text(encoding="utf-8"))[1]
        subprocess.run(["bash", "-c", command.replace(".venv/bin", str(programs))], check=True)
    path = f"{programs}:{path_without(tmp_path / 'others', 'sacct')}"
    environment = {**os.environ, "PATH": path, "SBATCH_RECORD": str(programs / "record")}
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm", "--configfile"]
    command += [*EXPERIMENTS[0], "--", "results/smoke/data/forget_test/images.npy"]
    with (programs / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while process.poll() is None and not (programs / "record").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.kill()
        process.wait()
    shutil.rmtree(project / ".snakemake/locks", ignore_errors=True)
    said = (programs / "log").read_text(encoding="utf-8")
    assert (programs / "record").exists() == remedy, said[-2000:]
    assert ("there is no such program here. Put an empty one" in said) != remedy, said[-2000:]


def test_groups_share_one_gpu_and_arrays_are_one_submission(planned, programs, tmp_path):
    folder = without_inputs(tmp_path / "project")
    sets = sum(job["rule"] == "make_data" for job in planned[0])
    sides = [8] * (sets // 8) + [sets % 8] * bool(sets % 8)  # processors of each group
    sent = {"make_data": len(sides), "lcr_encode": 5, "lcr_replace": 1}  # in eights, 20 in fours, 28 at once
    targets = [job["output"].split(", ")[0] for job in planned[0] if job["rule"] in sent]
    arguments = ("--workflow-profile", "profiles/slurm", "--configfile", *EXPERIMENTS[0], "--")
    seen = submitted(folder, programs, sum(sent.values()), *arguments, *targets)
    groups = {name: [given for given in seen if name in given["--output"]] for name in sent}
    assert {name: len(rows) for name, rows in groups.items()} == sent
    # One after the other on one GPU: the time adds up, GPUs, processors and memory do not.
    asked = values(table()["lcr_encode"][0].split())
    for given in groups["lcr_encode"]:
        assert int(given["-t"]) == 4 * int(asked["-t"])
        assert {name: given[name] for name in ("--gpus", "--cpus-per-task", "--mem")} == {
            name: asked[name] for name in ("--gpus", "--cpus-per-task", "--mem")
        }
    # Side by side on processors.
    assert sorted(int(given["--cpus-per-task"]) for given in groups["make_data"]) == sorted(sides)
    assert {given["-t"] for given in groups["make_data"]} == {"30"}
    assert groups["lcr_replace"][0]["--array"] == "1-28" and groups["lcr_replace"][0]["--gpus"] == "1"


@pytest.mark.parametrize("files", EXPERIMENTS)
def test_the_groups_are_no_circle(bare, project, files):
    """Snakemake refuses a group that is left and entered again. Nothing is sent, so that SLURM may be missing."""
    shown = snakemake(project, "--dry-run", "--workflow-profile", "profiles/slurm", "--configfile", *files).stdout
    assert "Job stats" in shown


def test_the_table_is_up_to_date(project):
    before = (project / "profiles/README.md").read_text(encoding="utf-8")
    subprocess.run([sys.executable, "profiles/table.py"], cwd=project, check=True)
    assert (project / "profiles/README.md").read_text(encoding="utf-8") == before, (
        "python profiles/table.py brings it up to date"
    )


def test_groups_and_arrays_name_rules_that_exist_and_no_rule_twice():
    slurm = profile("slurm")
    arrays = slurm["slurm-array-jobs"].split(",")
    assert {*slurm["groups"], *arrays} <= table().keys()
    assert not set(arrays) & slurm["groups"].keys()
    assert slurm["group-components"].keys() <= set(slurm["groups"].values())


def test_only_the_profile_names_partitions_and_accounts():
    for path in [ROOT / "Snakefile", *(ROOT / "workflow").rglob("*.smk")]:
        assert not re.search(r"partition|account|slurm", path.read_text(encoding="utf-8")), path


def test_a_rule_asks_for_a_gpu_if_its_code_may_take_one(planned):
    uses, asks = {}, {}
    for job in [job for jobs in planned for job in jobs]:
        code = [path for path in job.get("input", "").split(", ") if path.startswith("src/")]
        texts = [(ROOT / path).read_text(encoding="utf-8") for path in code if path != "src/palimpsest/run.py"]
        uses.setdefault(job["rule"], []).append(any("torch_device(" in text for text in texts))
        asks.setdefault(job["rule"], []).append("gpu=1" in job.get("resources", "").split(", "))
    # A rule whose jobs run one of several modules asks for the one that needs most.
    assert {rule for rule in uses if any(uses[rule])} == {rule for rule in asks if all(asks[rule])}
    assert {rule for rule in asks if any(asks[rule])} == {rule for rule in asks if all(asks[rule])} != set()


@pytest.mark.parametrize("name", ["slurm", "gpu"])
def test_profiles_say_the_same_where_the_default_one_says_something(name):
    """A profile that is named takes the default one's place; on a cluster `jobs` says how much may run."""
    default = profile("default")
    assert default.pop("cores") == "all" == profile("gpu")["cores"] and "jobs" in profile("slurm")
    assert default.items() <= profile(name).items()


def test_jobs_of_arrays_are_never_held_back():
    """The executor loses a job of an array that it is handed alone while others are ready: the run would hang."""
    assert profile("slurm")["jobs"] == "unlimited"


@pytest.fixture
def cards(bare, tmp_path, monkeypatch):
    """Let nvidia-smi list so many GPUs; None: there is no such program."""

    def listed(number: int | None) -> None:
        if number is not None:
            program = tmp_path / "cards/nvidia-smi"
            program.parent.mkdir()
            program.write_text("#!/bin/sh\n" + "echo 'GPU 0: a card (UUID: GPU-1)'\n" * number, encoding="utf-8")
            program.chmod(0o755)
            monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return listed


def started_on_gpus(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    """A run of one small job with the profile of GPUs, whatever is there."""
    target = ("--", "results/smoke/data/forget_test/images.npy")
    profile = ("--forceall", "--workflow-profile", "profiles/gpu")
    return snakemake(project, *profile, *arguments, "--configfile", *EXPERIMENTS[0], *target, check=False)


@pytest.mark.parametrize(
    ("gpus", "chosen", "shown"),
    [(2, None, None), (1, None, 1), (2, "1", 1), (2, "-1", 0), (0, None, 0), (None, None, 0), (None, "0,1", 0)],
)
def test_more_local_gpus_than_there_are_is_refused_at_the_start(project, cards, monkeypatch, gpus, chosen, shown):
    cards(gpus)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    done = started_on_gpus(project, "--resources", "gpu=2")
    assert (done.returncode == 0) == (shown is None), done.stdout[-2000:]
    if shown is not None:
        assert f"gpu=2 is asked for, and this machine shows {shown}" in done.stdout
        assert "profiles/gpu/profile.yaml" in done.stdout and "rule make_data" not in done.stdout


def test_steps_that_share_a_gpu_are_counted_and_told(project, cards):
    """The job writes down what its environment says."""
    cards(2)
    folder = project / "src/palimpsest/worlds"
    told = "import os, pathlib\npathlib.Path('told').write_text(os.environ['PALIMPSEST_STEPS_PER_GPU'])\n"
    text = (folder / "make.py").read_text(encoding="utf-8")
    (folder / "make.py").write_text(told + text, encoding="utf-8")
    try:
        done = started_on_gpus(project, "--resources", "gpu=8", "steps_per_gpu=4")
        assert done.returncode == 0 and (project / "told").read_text(encoding="utf-8") == "4", done.stdout[-2000:]
        done = started_on_gpus(project, "--resources", "gpu=9", "steps_per_gpu=4")
        assert done.returncode != 0 and "gpu=9 is asked for, and this machine shows 2" in done.stdout
        assert "steps_per_gpu=4" in done.stdout
    finally:
        (folder / "make.py").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", ["default", "gpu"])
def test_every_profile_can_be_planned_on_a_bare_machine(bare, project, name):
    """Who plans needs nothing of what the jobs will need."""
    done = snakemake(project, "--dry-run", "--workflow-profile", f"profiles/{name}", "--configfile", *EXPERIMENTS[0])
    assert re.search(r"^lcr_replace +\d+$", done.stdout, re.MULTILINE)


def test_the_workflow_is_linted_on_a_bare_machine(bare, project):
    snakemake(project, "--lint")


def test_tests_of_what_may_be_missing_do_without_it(bare):
    """Whoever tries the project may have none of these programs, and meets the tests first."""
    assert shutil.which("git") is shutil.which("latexmk") is shutil.which("sbatch") is None
    kinds = "git or commit or record or stamped or machine or utf8"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", kinds]
    command += ["tests/test_run.py", "tests/test_rehearsal.py", "tests/test_structure.py"]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    shown = done.stdout.split("[100%]")[0]
    assert shown.count(".") > shown.count("s"), shown  # most of them pass, and are not left out
