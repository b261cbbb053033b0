"""Shared fixtures."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from palimpsest.plan.configuration import merged, parts, without_nulls

# A busy machine is no fault of the code, and two runs of one commit test the same examples.
settings.register_profile("palimpsest", deadline=None, derandomize=True)
settings.load_profile("palimpsest")

ROOT = Path(__file__).resolve().parent.parent
COPIED = (
    "Snakefile",
    "config",
    "envs",
    "notebooks",
    "paper",
    "profiles",
    "pyproject.toml",
    "resources",
    "src",
    "workflow",
)


def configuration(experiment: str = "mini") -> dict:
    """The configuration of an experiment, as the workflow composes it."""
    composed = merged(parts(ROOT, [ROOT / f"config/{experiment}.yaml"], {}))
    without_nulls(composed)
    return composed


SMOKE = ("--configfile", "config/smoke.yaml")
# A stand-in for conda: see its text.
CONDA = ROOT / "tests/doubles/conda/bin"
# What a machine may lack beside Python: nothing but what they do themselves may hang on these programs.
SLURM = ("sbatch", "squeue", "sacct", "sacctmgr", "scontrol", "sinfo", "scancel", "slurmctld", "slurmd", "munged")
LATEX = ("latexmk", "pdflatex", "latex", "tex", "bibtex", "kpsewhich")
OTHERS = ("git", "conda", "mamba", "nvidia-smi", "pdftotext", "pdftoppm", "apt-get")
# The C locale, without Python's own remedies for it.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The smoke run comes first, then what else runs Snakemake: the shorter tests fill the other worker beside them."""
    items.sort(key=lambda item: ("smoke" not in item.fixturenames, item.get_closest_marker("workflow") is None))


def path_without(links: Path, *programs: str) -> str:
    """A PATH on which some programs are not found: links to all others take the place of the folders that have them.

    links: an empty folder, in which the links are made.
    """
    folders = []
    for number, folder in enumerate(map(Path, os.environ["PATH"].split(os.pathsep))):
        if any((folder / name).exists() for name in programs):
            others = links / str(number)
            others.mkdir(parents=True)
            for program in folder.iterdir():
                if program.name not in programs:
                    (others / program.name).symlink_to(program.absolute())
            folder = others
        folders.append(str(folder))
    return os.pathsep.join(folders)


@pytest.fixture
def bare(tmp_path, monkeypatch) -> None:
    """The machine of somebody who tries the project: without SLURM, LaTeX, conda, git and the like, and in a locale
    that knows nothing but ASCII, as in a small container."""
    for name, value in ASCII.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", path_without(tmp_path / "bare", *SLURM, *LATEX, *OTHERS))


def heed_interrupts() -> None:
    """In a child process: let SIGINT interrupt it, even where the tests themselves run in a shell's background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def copy_of_the_project(folder: Path) -> Path:
    """A copy of everything a run reads, without results, so that a test may edit it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, folder / name)
    return folder


def snakemake(
    folder: Path, *arguments: str, check: bool = True, programs: Path | None = None
) -> subprocess.CompletedProcess:
    """Run Snakemake in a copy of the project; its text, both streams, is in `stdout`.

    programs: a folder of programs that come first, such as the stand-in for conda.
    """
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"} if programs else None
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout[-6000:]
    return done


def tables(folder: Path) -> dict[str, bytes]:
    """Every table, number and verdict of a smoke run; provenance differs between runs by nature (seconds, memory)."""
    paper = folder / "results/smoke/paper"
    files = [*paper.glob("tables/*"), *(paper / name for name in ("measurements.csv", "numbers.tex", "verdicts.tex"))]
    files += [paper / "scorecard.csv", paper / "scorecard.tex"]
    return {
        str(path.relative_to(paper)): path.read_bytes()
        for path in sorted(files)
        if not path.name.endswith(".record.json")
    }


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Path:
    """A copy of the project in which the smoke experiment has run once, in conda's environments; tests must leave it
    as they found it."""
    folder = copy_of_the_project(tmp_path_factory.mktemp("smoke"))
    snakemake(folder, "--sdm", "conda", *SMOKE, programs=CONDA)
    return folder
