"""Where the steps run: locks, conda environments and the image agree, and what cannot be installed is refused."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml

from conftest import CONDA, ROOT, copy_of_the_project, snakemake
from palimpsest.run import sha256

ENVS = ROOT / "envs"
LOCKS = sorted(ENVS.glob("*.lock.txt"))
SCRIPTS = sorted(ENVS.glob("*.post-deploy.sh"))
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^\s;]+)", re.MULTILINE)
BUILDS = ("torch-cpu", "torch-cuda")


def pins(lock: Path) -> dict[str, str]:
    """The versions of a lock by name; a build's suffix (+cpu) is left out."""
    return {name: version.partition("+")[0] for name, version in PIN.findall(lock.read_text(encoding="utf-8"))}


def named(path: Path) -> set[str]:
    """The distributions that an input asks for."""
    return {re.match(r"[a-z0-9._-]+", line.lower())[0] for line in path.read_text(encoding="utf-8").splitlines()}


def test_locks_agree_with_each_other():
    found: dict[str, dict[str, str]] = {}
    for path in LOCKS:
        for name, version in pins(path).items():
            found.setdefault(name, {})[path.name] = version
    assert {name: given for name, given in found.items() if len(set(given.values())) > 1} == {}


def test_locks_hold_what_is_asked_for():
    for path in sorted(ENVS.glob("*.in")):
        lock = pins(path.with_suffix(".lock.txt"))
        if path.stem == "torch":
            for build in BUILDS:
                given = pins(ENVS / f"{build}.lock.txt")
                assert (
                    f"torch=={given['torch']}" in path.read_text(encoding="utf-8").split()
                    and not given.keys() & lock.keys()
                )
            lock |= given
        assert named(path) <= lock.keys(), path.name
        for name, version in PIN.findall(path.read_text(encoding="utf-8")):
            assert lock[name] == version, f"{name} of {path.name}"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_pin_has_hashes_and_no_address(lock):
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text and not re.search(r"^\s*--(?!hash)", text, re.MULTILINE)
    parts = [part for part in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE) if PIN.match(part)]
    assert len(parts) == len(pins(lock)) and all("--hash=sha256:" in part for part in parts)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_post_deploy_script_carries_the_hashes_of_what_it_installs(script):
    text = script.read_text(encoding="utf-8")
    carried = {Path(name).name: digest for digest, name in re.findall(r"^# ([0-9a-f]{64})  (\S+)$", text, re.MULTILINE)}
    installed = re.search(r"^bash envs/install\.sh \S+ (.*)$", text, re.MULTILINE)[1].split()
    wanted = {"bootstrap", *installed, *(BUILDS if "torch" in installed else ())}
    assert carried == {f"{name}.lock.txt": sha256(ENVS / f"{name}.lock.txt") for name in wanted}
    made = yaml.safe_load(script.with_name(script.name.replace(".post-deploy.sh", ".yaml")).read_text(encoding="utf-8"))
    assert [spec.partition("=")[0] for spec in made["dependencies"]] == ["python", "pip"]


def test_every_environment_of_a_rule_is_complete():
    used = {
        name
        for path in (ROOT / "workflow").rglob("*.smk")
        for name in re.findall(r"envs/(\w+)\.yaml", path.read_text(encoding="utf-8"))
    }
    assert used == {path.name.removesuffix(".post-deploy.sh") for path in SCRIPTS}
    rules = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk"))
    assert rules.count("\nrule ") == rules.count("\n    conda:\n")


# What install.sh does with what it is offered. The commands that it calls are stand-ins: the CUDA build has gigabytes.


@pytest.fixture
def installer(tmp_path):
    """Runs install.sh with an environment whose python and uv write down what they are told, and fail when told to."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("python", "uv"):
        (commands / name).write_text(
            f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n'
            f'case "$*" in *"${{FAILS_AT:-nothing fails}}"*) echo "$FAULT" >&2; exit 1 ;; esac\n',
            encoding="utf-8",
        )
        (commands / name).chmod(0o755)

    def install(*locks, **environment):
        (tmp_path / "calls").unlink(missing_ok=True)
        command = ["bash", str(ENVS / "install.sh"), str(commands / "python"), *locks]
        given = {"TORCH": "cpu", **environment}
        done = subprocess.run(command, env={**os.environ, **given}, capture_output=True, encoding="utf-8", check=False)
        return done, re.findall(r"envs/([\w-]+)\.lock\.txt", (tmp_path / "calls").read_text(encoding="utf-8"))

    return install


def test_torch_is_installed_in_the_build_that_is_asked_for(installer):
    assert installer("torch")[1] == ["bootstrap", "torch-cpu", "torch-cpu", "torch"]
    assert installer("torch", TORCH="cuda")[1] == ["bootstrap", "torch-cuda", "torch"]
    assert installer("torch", TORCH="none")[1] == ["bootstrap", "torch"]
    assert installer("paper")[1] == ["bootstrap", "paper"]
    done, _ = installer("torch", TORCH="tpu")
    assert done.returncode == 1 and "TORCH=tpu is no build of torch: give cpu, cuda or none" in done.stderr


def test_without_the_cpu_build_the_other_one_is_installed_and_a_wrong_hash_is_never_passed_over(installer):
    absent = {"FAILS_AT": "pip download", "FAULT": "ERROR: No matching distribution found for torch"}
    done, installed = installer("torch", **absent)
    assert done.returncode == 0 and installed == ["bootstrap", "torch-cpu", "torch-cuda", "torch"]
    assert "some gigabytes larger" in done.stderr
    other = {"FAILS_AT": "pip download", "FAULT": "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES"}
    done, installed = installer("torch", **other)
    assert done.returncode == 1 and installed == ["bootstrap", "torch-cpu"]
    assert "torch-cpu.lock.txt could not be installed" in done.stderr and "DO NOT MATCH" in done.stderr


def test_a_lock_that_cannot_be_installed_is_named_with_the_remedy(tmp_path):
    """For real: uv refuses a file with another hash, and says which; with the lock put back it installs."""
    folder = copy_of_the_project(tmp_path / "project")
    lock = folder / "envs/paper.lock.txt"
    text = lock.read_text(encoding="utf-8")
    lock.write_text(re.sub(r"(?<=sha256:)[0-9a-f]{64}", "0" * 64, text), encoding="utf-8")
    venv.create(tmp_path / "env", with_pip=True)
    command = ["bash", "envs/install.sh", str(tmp_path / "env/bin/python"), "paper"]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1 and "envs/paper.lock.txt could not be installed" in done.stderr
    assert "Hash mismatch" in done.stderr and "git checkout envs/paper.lock.txt" in done.stderr
    lock.write_text(text, encoding="utf-8")
    subprocess.run(command, cwd=folder, check=True)
    subprocess.run([str(tmp_path / "env/bin/python"), "-c", "import matplotlib, pandas, pyarrow"], check=True)


# conda and the image


@pytest.mark.workflow
@pytest.mark.parametrize("fault", ["package", "lock"])
def test_an_environment_that_cannot_be_made_stops_before_any_work(tmp_path, fault):
    folder = copy_of_the_project(tmp_path / "project")
    if fault == "package":
        path, said = (
            folder / "envs/torch.yaml",
            "PackagesNotFoundError: the stand-in for conda has no package no-such=1.0",
        )
        path.write_text(path.read_text(encoding="utf-8") + "  - no-such=1.0\n", encoding="utf-8")
    else:
        path, said = folder / "envs/bootstrap.lock.txt", "bootstrap.lock.txt could not be installed"
        path.write_text(
            re.sub(r"(?<=sha256:)[0-9a-f]{64}", "0" * 64, path.read_text(encoding="utf-8")), encoding="utf-8"
        )
    target = "results/smoke/data/train_a/images.npy"
    arguments = ("--sdm", "conda", "--configfile", "config/smoke.yaml", "--", target)
    done = snakemake(folder, *arguments, check=False, programs=CONDA)
    assert done.returncode != 0 and "torch.yaml" in done.stdout and said in done.stdout
    assert not (folder / "results").exists()


@pytest.mark.workflow
def test_the_image_has_every_environment_with_all_that_is_installed_in_it():
    programs = {"PATH": f"{CONDA}:{Path(sys.executable).parent}:{os.environ['PATH']}", "TORCH": "cuda"}
    command = ["bash", "envs/container.sh"]
    text = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **programs}, capture_output=True, encoding="utf-8", check=True
    ).stdout
    made = dict(re.findall(r"conda env create --prefix (\S+) --file (\S+)", text))
    copied = {target: source for source, target in re.findall(r"^COPY (\S+) (\S+)$", text, re.MULTILINE)}
    deployed = re.findall(r"^RUN TORCH=cuda CONDA_PREFIX=(\S+) bash (\S+)$", text, re.MULTILINE)
    assert {prefix: copied[file].replace(".yaml", ".post-deploy.sh") for prefix, file in made.items()} == dict(deployed)
    assert {Path(script).name for _, script in deployed} == {path.name for path in SCRIPTS}
    # Where they look for what they install.
    assert text.index("COPY envs /palimpsest/envs\nWORKDIR /palimpsest\n") < text.index("post-deploy.sh")
