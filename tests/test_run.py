"""The frame of a step: arguments from types, outputs that appear whole or not at all, records, errors in one line."""

import errno
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from conftest import ASCII, heed_interrupts
from palimpsest import run
from palimpsest.run import Input, Output, UserError, read_record, record_path, sha256, step, torch_device

CALLS = []


def every_kind(
    single: Input,
    several: list[Input],
    made: Output,
    *,
    count: int,
    share: float = 0.5,
    mode: Literal["any", "half"] = "any",
    flag: bool = False,
    numbers: list[int] = (1,),
    params: dict | None = None,
    extra: Input | None = None,
) -> None:
    """A step with every kind of parameter."""
    CALLS.append({name: value for name, value in locals().items() if name != "made"})
    made.write_text("done", encoding="utf-8")


def draw(source: Input, first: Output, second: Output, *, scale: float = 1.0, seed: int = 0) -> dict:
    """A step with two outputs that depend on the seed and an input."""
    values = np.random.random(100) * scale + len(source.read_text(encoding="utf-8"))  # noqa: NPY002
    np.save(first, values)
    second.write_text(f"{values.sum()}\n", encoding="utf-8")
    return {"sum": values.sum(), "shape": values.shape, "head": values[:2], "source": source}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.txt"
    path.write_text("input", encoding="utf-8")
    return path


def drawing(folder, source, *more):
    return ["--source", str(source), "--first", str(folder / "a.npy"), "--second", str(folder / "b.txt"), *more]


def left_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def ended(function, arguments):
    """The message with which a step ends in failure."""
    with pytest.raises(SystemExit) as caught:
        step(function, arguments)
    return str(caught.value.code)


# Arguments


def required(tmp_path, source):
    return ["--single", str(source), "--several", str(source), str(source), "--made", str(tmp_path / "made.txt")]


def test_arguments_take_the_types_of_the_parameters(tmp_path, source):
    arguments = [*required(tmp_path, source), "--count", "3", "--share", "0.25", "--mode", "half", "--flag", "true"]
    step(every_kind, [*arguments, "--numbers", "4", "5", "--params", '{"a": [1, null]}', "--extra", str(source)])
    assert CALLS.pop() == {
        "single": source,
        "several": [source, source],
        "count": 3,
        "share": 0.25,
        "mode": "half",
        "flag": True,
        "numbers": [4, 5],
        "params": {"a": [1, None]},
        "extra": source,
    }


def test_defaults_are_those_of_the_function(tmp_path, source):
    step(every_kind, [*required(tmp_path, source), "--count", "3"])
    call = CALLS.pop()
    assert (call["share"], call["mode"], call["flag"], call["params"], call["extra"]) == (0.5, "any", False, None, None)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (["--count", "three"], "--count"),
        (["--mode", "most"], "--mode"),
        (["--flag", "1"], "expected true or false"),
        (["--flag", "yes"], "expected true or false"),
        (["--params", "[1]"], "expected a JSON object"),
        (["--params", "{a: 1}"], "expected a JSON object"),
        (["--shar", "0.5"], "--shar"),
        (["--unknown", "1"], "--unknown"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(tmp_path, source, capsys, wrong, named):
    with pytest.raises(SystemExit) as caught:
        step(every_kind, [*required(tmp_path, source), "--count", "1", *wrong])
    assert caught.value.code == 2 and not CALLS
    assert named in capsys.readouterr().err
    assert left_in(tmp_path) == ["source.txt"]


def test_a_required_argument_is_asked_for(tmp_path, source, capsys):
    with pytest.raises(SystemExit):
        step(every_kind, required(tmp_path, source))
    assert "--count" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--single", "--several", "--extra"])
def test_a_missing_input_names_flag_path_and_remedy(tmp_path, source, flag):
    absent = str(tmp_path / "absent.npy")
    message = ended(every_kind, [*required(tmp_path, source), "--count", "1", flag, absent])
    assert f"{flag} {absent}" in message and f"snakemake --cores 1 {absent}" in message
    assert "\n" not in message and not CALLS


# Outputs


def test_outputs_and_record_appear_and_nothing_else(tmp_path, source):
    step(draw, drawing(tmp_path / "new/folder", source))
    assert left_in(tmp_path) == ["a.npy", "a.record.json", "b.txt", "source.txt"]


def test_outputs_have_their_final_name_only_at_the_end(tmp_path, source):
    def peek(source: Input, first: Output, second: Output) -> None:
        first.write_text("1", encoding="utf-8")
        second.write_text("2", encoding="utf-8")
        assert not (tmp_path / "out/a.npy").exists() and not (tmp_path / "out/b.txt").exists()

    step(peek, drawing(tmp_path / "out", source))
    assert (tmp_path / "out/a.npy").read_text(encoding="utf-8") == "1"


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), UserError("wrong"), MemoryError()])
def test_a_failure_leaves_what_was_there_and_a_rerun_completes(tmp_path, source, error):
    def fail(source: Input, first: Output, second: Output, *, scale: float = 1.0, seed: int = 0) -> None:
        first.write_text("half", encoding="utf-8")
        raise error

    folder = tmp_path / "out"
    ends = SystemExit if isinstance(error, KeyboardInterrupt | UserError) else type(error)
    with pytest.raises(ends) as caught:
        step(fail, drawing(folder, source))
    assert left_in(folder) == []
    if isinstance(error, KeyboardInterrupt):
        assert caught.value.code == 130
    step(draw, drawing(folder, source))
    before = (folder / "a.npy").read_bytes(), (folder / "b.txt").read_bytes()
    # Neither are outputs of an earlier run touched.
    with pytest.raises(ends):
        step(fail, drawing(folder, source))
    assert ((folder / "a.npy").read_bytes(), (folder / "b.txt").read_bytes()) == before
    assert left_in(folder) == ["a.npy", "a.record.json", "b.txt"]


def test_an_output_that_was_not_written_is_an_error(tmp_path, source):
    def forget(source: Input, first: Output, second: Output) -> None:
        first.write_text("only one", encoding="utf-8")

    with pytest.raises(RuntimeError, match=r"did not write .*b\.txt"):
        step(forget, drawing(tmp_path / "out", source))
    assert left_in(tmp_path / "out") == []


PROGRAM = """
import os, sys, time
from pathlib import Path
import numpy as np
from palimpsest.run import Input, Output, UserError, step

def wait(source: Input, first: Output, second: Output, *, stop: str = "no", seed: int = 0) -> None:
    np.save(first, np.random.random(1000))
    if stop == "wait":
        Path(os.environ["READY"]).touch()
        time.sleep(60)
    if stop == "fault":
        raise UserError("the thing, the place, the remedy")
    second.write_text("second")

if __name__ == "__main__":
    step(wait)
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return path


def started(program, arguments, **settings):
    environment = {**os.environ, "READY": str(program.parent / "ready")}
    settings = {"stderr": subprocess.PIPE, "encoding": "utf-8", "preexec_fn": heed_interrupts, **settings}
    return subprocess.Popen([sys.executable, str(program), *arguments], env=environment, **settings)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_step_leaves_no_output_and_its_rerun_gives_the_same_bytes(tmp_path, program, source, sent):
    folder = tmp_path / "out"
    process = started(program, drawing(folder, source, "--seed", "5", "--stop", "wait"))
    limit = time.monotonic() + 60
    while not (tmp_path / "ready").exists():
        assert process.poll() is None and time.monotonic() < limit, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(sent)
    process.communicate(timeout=30)
    assert process.returncode == (130 if sent == signal.SIGINT else -sent)
    partial = [name for name in left_in(folder) if name.startswith(".partial-")]
    assert left_in(folder) == partial
    assert bool(partial) == (sent == signal.SIGKILL)
    for place in (folder, tmp_path / "undisturbed"):
        again = started(program, drawing(place, source, "--seed", "5"))
        assert again.wait(timeout=60) == 0, again.communicate()[1]
        again.communicate()
    assert left_in(folder) == ["a.npy", "a.record.json", "b.txt"]
    assert (folder / "a.npy").read_bytes() == (tmp_path / "undisturbed/a.npy").read_bytes()


def test_a_user_error_is_one_line_and_status_1(tmp_path, program, source):
    process = started(program, drawing(tmp_path / "out", source, "--stop", "fault"))
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert message.count("\n") == 1 and "the thing, the place, the remedy" in message


# Locales


@pytest.fixture(params=["C", "ISO-8859-1"])
def locale(request, tmp_path) -> dict[str, str]:
    """The environment of a locale that is not UTF-8."""
    if request.param == "C":
        return ASCII
    command = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(tmp_path / "en_US.ISO-8859-1")]
    if shutil.which("localedef") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("the locale cannot be made here")
    return {**ASCII, "LC_ALL": "en_US.ISO-8859-1", "LOCPATH": str(tmp_path)}


def test_a_step_reads_and_writes_utf8_in_any_locale(tmp_path, locale):
    """One that prints what it writes."""
    licence = "© Ω ≥ 1"
    command = [sys.executable, "-m", "palimpsest.sources.licence", "--name", "a", "--text", str(tmp_path / "a.md")]
    command += ["--row", json.dumps({"licence": licence})]
    done = subprocess.run(command, env={**os.environ, **locale}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert licence in (tmp_path / "a.md").read_text(encoding="utf-8") and b"Licence: " in done.stdout


# No space left


def full_disk(name):
    if name == "numpy":  # a short write of numpy has no error number
        return OSError("40000 requested and 8176 written")
    if name == "safetensors":  # nor has its exception class, which is no OSError
        return RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    return OSError(getattr(errno, name), os.strerror(getattr(errno, name)), "results/a.npy")


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "numpy", "safetensors"])
def test_a_full_disk_gives_one_line_and_leaves_nothing(tmp_path, source, monkeypatch, name):
    def save(path, values):
        Path(path).write_bytes(b"half")
        raise full_disk(name)

    monkeypatch.setattr(np, "save", save)
    message = ended(draw, drawing(tmp_path / "out", source))
    assert "no space left on the device" in message and "run the same command again" in message
    assert "\n" not in message and left_in(tmp_path / "out") == []


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied"), ValueError("8 requested")])
def test_other_errors_are_not_taken_for_a_full_disk(tmp_path, source, monkeypatch, error):
    def save(path, values):
        raise error

    monkeypatch.setattr(np, "save", save)
    with pytest.raises(type(error)):
        step(draw, drawing(tmp_path / "out", source))


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 KiB, where one may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted by root alone")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("writer", ["npy", "npz", "parquet", "safetensors", "text"])
def test_a_really_full_disk_gives_one_line_and_leaves_nothing(tiny_disk, source, writer):
    values = np.random.default_rng(0).random(50_000)

    def large(source: Input, first: Output, second: Output) -> None:
        if writer == "npy":
            np.save(first, values)
        elif writer == "npz":
            with first.open("wb") as file:
                np.savez(file, values=values)
        elif writer == "parquet":
            import pandas as pd

            pd.DataFrame({"values": values}).to_parquet(first)
        elif writer == "safetensors":
            from safetensors.numpy import save_file

            save_file({"values": values}, first)
        else:
            first.write_text(" ".join(map(str, values)), encoding="utf-8")
        second.write_text("second", encoding="utf-8")

    assert "no space left on the device" in ended(large, drawing(tiny_disk, source))
    assert left_in(tiny_disk) == []
    step(draw, drawing(tiny_disk, source))
    assert left_in(tiny_disk) == ["a.npy", "a.record.json", "b.txt"]


# Seeds and records


def test_the_seed_decides_the_result(tmp_path, source):
    for name, seed in (("one", "1"), ("same", "1"), ("two", "2")):
        step(draw, drawing(tmp_path / name, source, "--seed", seed))
    one, same, two = ((tmp_path / name / "a.npy").read_bytes() for name in ("one", "same", "two"))
    assert one == same != two


def test_a_step_computes_in_whole_float32(tmp_path, source, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    step(draw, drawing(tmp_path, source))
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


def test_the_record_says_how_an_output_was_made(tmp_path, source):
    step(draw, drawing(tmp_path / "out", source, "--seed", "7", "--scale", "2"))
    first = tmp_path / "out/a.npy"
    assert record_path(first) == tmp_path / "out/a.record.json"
    record, values = read_record(first), np.load(first)
    assert record["step"] == draw.__module__
    assert record["arguments"] == {"scale": 2.0, "seed": 7} and record["seed"] == 7
    assert record["inputs"] == {"source": str(source)}
    assert record["outputs"] == {"first": str(first), "second": str(tmp_path / "out/b.txt")}
    assert record["result"] == {
        "sum": values.sum(),
        "shape": [100],
        "head": values[:2].tolist(),
        "source": str(source),
    }
    assert record["lock"] == sha256(run.LOCK)[:16]
    assert record["versions"]["numpy"] == np.__version__
    assert record["device"] == "cpu" and record["seconds"] >= 0 and record["peak_memory_mb"] > 1


def test_the_code_is_recorded_as_it_was_when_it_was_loaded(tmp_path, source, monkeypatch):
    states = iter([{"a.py": "old"}, {"a.py": "edited meanwhile", "b.py": "loaded late"}])
    monkeypatch.setattr(run, "code_fingerprint", lambda: next(states))
    step(draw, drawing(tmp_path, source))
    assert read_record(tmp_path / "a.npy")["code"] == {"a.py": "old", "b.py": "loaded late"}


def test_the_code_of_a_step_is_every_module_it_loaded_and_no_other(tmp_path):
    command = [sys.executable, "-m", "palimpsest.worlds.make", "--world", "scenes"]
    command += ["--params", json.dumps({"n": 2, "seed": 0, "split": "fit"})]
    names = {"images": "images.npy", "masks": "masks.npy", "manifest": "manifest.parquet"}
    command += [part for flag, name in names.items() for part in (f"--{flag}", str(tmp_path / name))]
    subprocess.run(command, check=True)
    record = read_record(tmp_path / "images.npy")
    assert record["step"] == "palimpsest.worlds.make"
    modules = {"__init__", "errors", "options", "run", "worlds/__init__", "worlds/base", "worlds/make", "worlds/scenes"}
    assert set(record["code"]) == {f"palimpsest/{name}.py" for name in modules}
    assert record["code"] == {path: sha256(run.PACKAGE.parent / path)[:16] for path in record["code"]}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout with one commit in the place of the project, and nothing remembered of the project's."""
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "file").write_text("text", encoding="utf-8")
    author = ["-c", "user.name=name", "-c", "user.email=name@example.org"]
    for command in (["init", "-q"], ["add", "file"], [*author, "commit", "-q", "-m", "First"]):
        subprocess.run(["git", "-C", str(root), *command], check=True)
    monkeypatch.setattr(run, "ROOT", root)
    run.commit.cache_clear()
    yield root
    run.commit.cache_clear()


def recorded_commit(folder, source) -> str:
    step(draw, drawing(folder, source))
    return read_record(folder / "a.npy")["commit"]


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@needs_git
@pytest.mark.parametrize("owner", ["own", "another's"])
def test_the_commit_is_recorded_and_whether_files_differ(tmp_path, source, checkout, monkeypatch, owner):
    command = ["git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD"]
    head = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip()
    if owner == "another's":
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        refused = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        assert refused.returncode and "dubious ownership" in refused.stderr
    assert recorded_commit(tmp_path / "clean", source) == head
    run.commit.cache_clear()
    (checkout / "file").write_text("changed", encoding="utf-8")
    assert recorded_commit(tmp_path / "dirty", source) == f"{head}-dirty"


@needs_git
def test_the_commit_is_asked_for_before_the_work(tmp_path, source, checkout, monkeypatch):
    def takes_git_away(source: Input, first: Output) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        (checkout / "file").write_text("edited meanwhile", encoding="utf-8")
        first.write_text("made", encoding="utf-8")

    step(takes_git_away, ["--source", str(source), "--first", str(tmp_path / "a.npy")])
    commit = read_record(tmp_path / "a.npy")["commit"]
    assert len(commit) == 12 and not commit.endswith("-dirty")


@needs_git
@pytest.mark.parametrize(
    ("fault", "why"),
    [("download", "none (no git checkout)"), ("broken", "none (git fails: fatal: not a git repository")],
)
def test_the_record_says_why_there_is_no_commit(tmp_path, source, checkout, monkeypatch, fault, why):
    if fault == "download":  # unpacked in the folder of another checkout, whose commit says nothing of it
        inside = checkout / "download"
        inside.mkdir()
        monkeypatch.setattr(run, "ROOT", inside)
    else:
        (checkout / ".git/HEAD").unlink()
    assert recorded_commit(tmp_path / "out", source).startswith(why)


def test_a_step_runs_without_the_program_git_and_its_record_says_so(bare, tmp_path, source, request):
    run.commit.cache_clear()
    request.addfinalizer(run.commit.cache_clear)
    assert recorded_commit(tmp_path / "out", source) == "none (git is not installed)"


def test_an_output_without_a_record_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.npy has no record"):
        read_record(tmp_path / "a.npy")


# Devices


def on_device(made: Output, *, device: str = "auto") -> None:
    """A step that computes on a device."""
    made.write_text(str(torch_device(device)), encoding="utf-8")


@pytest.mark.parametrize(("name", "remedy"), [("cuda", "--device cpu"), ("cuda:1", "--device cpu"), ("gpu", "cuda")])
def test_a_device_that_is_not_there_is_a_clear_error(tmp_path, monkeypatch, name, remedy):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = ended(on_device, ["--made", str(tmp_path / "made.txt"), "--device", name])
    assert "--device" in message and remedy in message and "\n" not in message
    assert left_in(tmp_path) == []
    step(on_device, ["--made", str(tmp_path / "made.txt")])
    assert (tmp_path / "made.txt").read_text(encoding="utf-8") == "cpu"
    assert read_record(tmp_path / "made.txt")["device"] == "cpu"


@pytest.mark.parametrize(
    ("value", "gpu", "device"), [("auto", True, "cuda:0"), ("auto", False, "cpu"), ("cpu", True, "cpu")]
)
def test_palimpsest_device_says_what_auto_means(monkeypatch, value, gpu, device):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: None)
    monkeypatch.setattr(run, "_free_gpu", lambda: 0)
    monkeypatch.setenv("PALIMPSEST_DEVICE", value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert str(torch_device()) == device
    assert str(torch_device("cpu")) == "cpu"  # what a step is told itself comes first


@pytest.mark.parametrize(("value", "named"), [("cuda", "no GPU is visible here"), ("gpu", "no such device")])
def test_a_gpu_that_the_environment_asks_for_and_that_is_absent_ends_the_step(tmp_path, monkeypatch, value, named):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("PALIMPSEST_DEVICE", value)
    message = ended(on_device, ["--made", str(tmp_path / "made.txt")])
    assert f"PALIMPSEST_DEVICE={value}" in message and named in message and "cpu" in message
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(("given", "ends"), [("0", True), ("GPU-5f3b", True), ("", False), ("-1", False)])
def test_a_gpu_that_the_job_was_given_is_never_left_idle_in_silence(tmp_path, monkeypatch, given, ends):
    """As with torch's build for CPUs on a node whose GPU SLURM gave to the job."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("PALIMPSEST_DEVICE", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    if ends:
        message = ended(on_device, ["--made", str(tmp_path / "made.txt")])
        assert given in message and "TORCH=cuda make setup" in message and "PALIMPSEST_DEVICE=cpu" in message
        assert left_in(tmp_path) == []
    assert str(torch_device("cpu") if ends else torch_device()) == "cpu"


# A process on a machine with two GPUs, as far as torch can tell. It says which one it got and keeps it.
TWO_GPUS = """
import sys, time, types, torch
torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 2
torch.cuda.get_device_properties = lambda index: types.SimpleNamespace(uuid=f"uuid-{index}")
torch.cuda.set_device = lambda index: None
from palimpsest.run import torch_device
assert torch_device() == torch_device("cuda") == torch_device()
print(torch_device(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def gpu_user(tmp_path):
    """Start a process that takes one of two GPUs."""
    started = []

    def start(**environment):
        environment = {**os.environ, "TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": "0,1", **environment}
        command = [sys.executable, "-c", TWO_GPUS]
        started.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_two_steps_take_two_gpus_and_a_third_waits_for_the_first_to_end(gpu_user):
    first, second = gpu_user(), gpu_user()
    assert {first.stdout.readline(), second.stdout.readline()} == {"cuda:0\n", "cuda:1\n"}
    third = gpu_user()
    assert "waiting for a GPU: other steps hold all 2" in third.stderr.readline()
    second.kill()  # as a scheduler kills, without a chance to tidy up
    given_back = third.stdout.readline()
    fourth = gpu_user()
    assert "waiting" in fourth.stderr.readline()
    first.kill()
    assert {given_back, fourth.stdout.readline()} == {"cuda:0\n", "cuda:1\n"}


def test_a_gpu_that_somebody_has_chosen_is_not_locked(gpu_user, tmp_path):
    users = [gpu_user(CUDA_VISIBLE_DEVICES="1") for _ in range(2)]
    assert [user.stdout.readline() for user in users] == ["cuda:0\n"] * 2
    assert list(tmp_path.glob("*.lock")) == []


def test_steps_that_share_fill_empty_gpus_first_and_the_next_one_waits(gpu_user):
    users = [gpu_user(PALIMPSEST_STEPS_PER_GPU="2") for _ in range(2)]
    assert sorted(user.stdout.readline() for user in users) == ["cuda:0\n", "cuda:1\n"]
    users += [gpu_user(PALIMPSEST_STEPS_PER_GPU="2") for _ in range(2)]
    assert sorted(user.stdout.readline() for user in users[2:]) == ["cuda:0\n", "cuda:1\n"]
    fifth = gpu_user(PALIMPSEST_STEPS_PER_GPU="2")
    assert "other steps hold all 2 of this machine, 2 each" in fifth.stderr.readline()
    users[0].kill()
    assert fifth.stdout.readline() in ("cuda:0\n", "cuda:1\n")


@pytest.mark.parametrize("given", ["0", "-1", "many", "1.5", ""])
def test_a_wrong_number_of_steps_that_share_is_refused_by_name(gpu_user, given):
    _, said = gpu_user(PALIMPSEST_STEPS_PER_GPU=given).communicate(timeout=60)
    assert f"PALIMPSEST_STEPS_PER_GPU={given} is no number" in said


FREED = """
import resource
from palimpsest.run import keep_freed_memory
if {kept}:
    keep_freed_memory()
for _ in range(20):
    blocks = [bytearray(24 << 20) for _ in range(3)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
def test_memory_that_is_freed_is_taken_again_without_the_system():
    faults = {
        kept: int(subprocess.check_output([sys.executable, "-c", FREED.format(kept=kept)])) for kept in (True, False)
    }
    assert faults[True] < faults[False] / 3
