"""Shared fixtures."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no fault of the code, and two runs of one commit test the same examples.
settings.register_profile("palimpsest", deadline=None, derandomize=True)
settings.load_profile("palimpsest")

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("Snakefile", "config", "envs", "paper", "profiles", "pyproject.toml", "resources", "src", "workflow")


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


def snakemake(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    """Run Snakemake in a copy of the project; its text, both streams, is in `stdout`."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout[-6000:]
    return done


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Path:
    """A copy of the project in which the smoke experiment has run once; tests must leave it as they found it."""
    folder = copy_of_the_project(tmp_path_factory.mktemp("smoke"))
    snakemake(folder, "--configfile", "config/smoke.yaml")
    return folder
