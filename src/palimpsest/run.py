"""Running a step: the only boilerplate of the package.

A step is a module with one typed function; `step(function)` makes the module a program:

    def count(codes: Input, counts: Output, *, codebook_size: int, seed: int = 0) -> dict | None:
        '''Count the codes.'''

    if __name__ == "__main__":
        step(count)

Every parameter becomes an argument (`--codebook-size`); a `dict` travels as JSON, a `list[Input]` as several paths.
Inputs must exist. Outputs are written under a temporary name and renamed when the function has returned, so that a
killed step leaves nothing half-written. Beside the first output stands its record, `<output stem>.record.json`: how it
was made, and what the function returned (losses, gates).
"""

import argparse
import ctypes
import errno
import fcntl
import hashlib
import inspect
import json
import os
import platform
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np

from palimpsest.errors import UserError
from palimpsest.options import PACKAGE, fits, given_as

Input = Annotated[Path, "input"]
Output = Annotated[Path, "output"]

ROOT = PACKAGE.parent.parent
LOCK = ROOT / "envs" / "torch.lock.txt"
# How glibc keeps memory, by its own numbers of these settings (malloc.h), in bytes: what may lie free before it is
# given back to the system (M_TRIM_THRESHOLD), what is asked of it at once (M_TOP_PAD), and how large a block is that is
# asked for by itself (M_MMAP_THRESHOLD).
KEPT = {-1: 2**31 - 1, -2: 2**28, -3: 2**25}
RECORDED_VERSIONS = ("numpy", "pandas", "scipy", "torch", "diffusers", "onnxruntime", "nudenet")


def step(function: Callable[..., dict | None], arguments: list[str] | None = None) -> None:
    """Run a step from the command line; a UserError ends it with one line and exit status 1."""
    sys.stdout.reconfigure(errors="backslashreplace")  # a letter that the locale lacks ends no step
    try:
        _run(function, arguments)
    except UserError as error:
        sys.exit(f"error in {_module_of(function)}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not _says_disk_full(error):
            raise
        place = getattr(error, "filename", None) or "the disk of the outputs"
        sys.exit(
            f"error in {_module_of(function)}: no space left on the device ({place}). Nothing half-written was "
            "left behind: free some space and run the same command again."
        )


def _says_disk_full(error: Exception) -> bool:
    """Whether an error means a full disk or quota: numpy's short write and safetensors' error carry no number."""
    if getattr(error, "errno", None) is not None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    numbers = "|".join(str(number) for number in (errno.ENOSPC, errno.EDQUOT))
    return re.search(rf"^\d+ requested and \d+ written$|\(os error ({numbers})\)", str(error)) is not None


def _run(function, arguments):
    kinds = _parameters(function)
    values = vars(_parser(function, kinds).parse_args(arguments))
    for name, kind in kinds.items():
        if kind == "input":
            for path in values[name] if isinstance(values[name], list | tuple) else [values[name]]:
                if path is not None and not path.exists():
                    raise UserError(
                        f"--{name.replace('_', '-')} {path}: no such file or folder. "
                        f"If the workflow makes it, build it first: snakemake --cores 1 {path}"
                    )
    outputs = [name for name, kind in kinds.items() if kind == "output" and values[name] is not None]
    partial = {name: values[name].with_name(f".partial-{values[name].name}") for name in outputs}
    for path in partial.values():
        _remove(path)  # what a killed run left
        path.parent.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    seed_everything(values.get("seed") or 0)
    commit()  # asked for before the work, like the code: both may change during a long run
    started, clock, code = datetime.now(UTC), time.perf_counter(), code_fingerprint()
    try:
        result = function(**{**values, **partial})
        missing = [values[name] for name, path in partial.items() if not path.exists()]
        if missing:
            raise RuntimeError(f"{_module_of(function)} did not write {', '.join(map(str, missing))}")
        # The record first: an output must never stand beside the record of an earlier run.
        if outputs:
            record = _record(function, kinds, values, result, started, time.perf_counter() - clock)
            # What was loaded at the start is recorded as it was then.
            record["code"] |= code
            write_json(record_path(values[outputs[0]]), record)
        for name, path in partial.items():
            if path.is_dir():
                _remove(values[name])  # a folder takes no other's place
            path.replace(values[name])
    finally:
        for path in partial.values():
            _remove(path)


def _remove(path: Path) -> None:
    """Delete a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _module_of(function) -> str:
    spec = getattr(sys.modules.get(function.__module__), "__spec__", None)
    return spec.name if spec else function.__module__


def _parameters(function) -> dict[str, str]:
    """Each parameter's kind: input, output or value."""
    hints = typing.get_type_hints(function, include_extras=True)
    kinds = {}
    for name in inspect.signature(function).parameters:
        inner = get_args(hints[name])[0] if get_origin(hints[name]) is list else hints[name]
        inner = next((part for part in get_args(inner) if get_origin(part) is Annotated), inner)
        tag = inner.__metadata__[0] if get_origin(inner) is Annotated else "value"
        kinds[name] = tag if tag in ("input", "output") else "value"  # what a range says in words is no tag
    return kinds


def _parser(function, kinds) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {_module_of(function)}",
        description=inspect.getdoc(function),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    hints = typing.get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints[name]
        options = [part for part in get_args(hint) if part is not type(None)]
        if type(None) in get_args(hint) and len(options) == 1:
            hint = options[0]
        required = parameter.default is inspect.Parameter.empty
        settings: dict[str, Any] = {"required": required}
        if not required:
            settings["default"] = parameter.default
        if get_origin(hint) is Literal:
            settings["choices"] = get_args(hint)
        elif get_origin(hint) is list:
            settings.update(nargs="+", type=_reader(get_args(hint)[0]))
        elif hint is bool:
            settings.update(type=_boolean, metavar="{true,false}")
        elif hint is dict or get_origin(hint) is dict:
            settings.update(type=_json_object, metavar="JSON")
        else:
            settings["type"] = _reader(hint)
        parser.add_argument(f"--{name.replace('_', '-')}", **settings)
    return parser


def _reader(hint: Any) -> Callable[[str], Any]:
    """What reads one value of a type from text, and refuses a number out of the range that the type states."""
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if kind not in (int, float):
        return kind

    def read(text: str) -> int | float:
        value = kind(text)
        if not fits(value, hint):
            raise argparse.ArgumentTypeError(f"expected {given_as(hint)}, got {text}")
        return value

    read.__name__ = kind.__name__  # which argparse says of a text that is no number
    return read


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {text}")
    return text == "true"


def _json_object(text: str) -> dict:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a JSON object, got {text} ({error})") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"expected a JSON object, got {text}")
    return value


def keep_freed_memory() -> None:
    """Let the C library, where it is glibc, keep what is freed for what is asked of it next.

    Giving every large array's pages back and faulting them in again costs two parallel steps a fifth of their time.
    """
    with suppress(AttributeError):
        for setting, size in KEPT.items():
            ctypes.CDLL(None).mallopt(setting, size)


def seed_everything(seed: int) -> None:
    """Seed python, numpy and, where it is loaded, torch; ask torch for deterministic algorithms, and whole float32."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (libraries that draw from numpy's global state)
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(seed)
        # As use_deterministic_algorithms(True, warn_only=True), which loads torch's compiler, 2 seconds.
        torch.set_deterministic_debug_mode("warn")
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        # Of a GPU's convolutions torch cuts ten bits off by itself, of its products it does not.
        torch.backends.cudnn.allow_tf32 = False


def torch_device(name: str = "auto"):
    """The torch device of a step. `auto` is what PALIMPSEST_DEVICE says: auto, cpu or cuda.

    `auto` there, or no such variable, takes a GPU where there is one; `cuda` ends the step where there is none, and so
    does a GPU that was given to the job and that torch cannot use: a cluster's GPU would stand idle.
    A GPU is one that no other step of this machine holds (`_free_gpu`).
    """
    import torch

    asked, remedy = f"--device {name}", "Give --device cpu, or run on a machine with one"
    if name == "auto":
        name = os.environ.get("PALIMPSEST_DEVICE", "auto")
        asked, remedy = f"PALIMPSEST_DEVICE={name}", "Set PALIMPSEST_DEVICE=cpu, or run where a GPU is given to the job"
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        if name == "cpu" and re.match(r"\d|GPU-|MIG-", given):
            build = (
                "is a build for CPUs" if torch.version.cuda is None else f"needs a driver for CUDA {torch.version.cuda}"
            )
            raise UserError(
                f"CUDA_VISIBLE_DEVICES={given} gives this job a GPU that torch {torch.__version__} does not reach: it "
                f"{build}. Install the other build (TORCH=cuda make setup), or set PALIMPSEST_DEVICE=cpu."
            )
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"{asked}: no GPU is visible here. {remedy}.")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"{asked}: no such device. Give auto, cpu or cuda.") from error
    if name != "cuda":
        return device
    torch.cuda.set_device(_free_gpu())
    return torch.device("cuda", _free_gpu())


@lru_cache
def _free_gpu() -> int:
    """The index of a GPU with a free place, chosen once per process; waits while there is none.

    Snakemake counts GPUs and does not say which one a job gets. So a step locks a file that stands for one of the
    PALIMPSEST_STEPS_PER_GPU places of a GPU (1 where the variable is not set); the kernel gives the lock back when the
    process ends, however it ends. An empty GPU comes first. CUDA_VISIBLE_DEVICES=<one>, as SLURM sets it for a job,
    means that somebody has chosen: nothing is locked then.
    """
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if visible and "," not in visible:
        return 0
    names = [torch.cuda.get_device_properties(index).uuid for index in range(torch.cuda.device_count())]
    stem = Path(tempfile.gettempdir(), f"palimpsest-{os.getuid()}")
    places = [
        (index, f"{stem}-{name}-{slot}.lock") for slot in range(_steps_per_gpu()) for index, name in enumerate(names)
    ]
    files = [(index, os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)) for index, file in places]
    for attempt in count():
        for index, file in files:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return index
        if attempt == 0:
            held = f"all {len(names)} of this machine" + (f", {_steps_per_gpu()} each" if _steps_per_gpu() > 1 else "")
            print(f"waiting for a GPU: other steps hold {held}", file=sys.stderr, flush=True)
        time.sleep(1)


def _steps_per_gpu() -> int:
    """How many steps share a GPU, PALIMPSEST_STEPS_PER_GPU: what a profile says."""
    given = os.environ.get("PALIMPSEST_STEPS_PER_GPU", "1")
    if not re.fullmatch(r"[1-9]\d*", given, re.ASCII):
        raise UserError(f"PALIMPSEST_STEPS_PER_GPU={given} is no number of steps that share a GPU: give 1 or more.")
    return int(given)


def _record(function, kinds, values, result, started, seconds) -> dict:
    return {
        "step": _module_of(function),
        "arguments": {name: _plain(value) for name, value in values.items() if kinds[name] == "value"},
        "inputs": {name: _plain(values[name]) for name, kind in kinds.items() if kind == "input"},
        "outputs": {name: _plain(values[name]) for name, kind in kinds.items() if kind == "output"},
        "seed": values.get("seed"),
        "device": _device_name(values),
        "threads": int(os.environ.get("OMP_NUM_THREADS", "1")),
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": platform.platform(),
        "commit": commit(),
        "lock": lock_hash(),
        "code": code_fingerprint(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "result": _plain(result or {}),
    }


def _device_name(values) -> str:
    """What a step computed on: the processor, unless it took a GPU."""
    named = values.get("device", "auto")
    if not (_free_gpu.cache_info().currsize or named.startswith("cuda:")):
        return "cpu"
    import torch

    return torch.cuda.get_device_name(torch_device(named))


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in RECORDED_VERSIONS if name in sys.modules}


def _plain(value):
    """Make a value JSON-ready: paths as text, numpy scalars as numbers."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value


def record_path(output: Path) -> Path:
    """Where the record of an output stands."""
    return output.with_name(f"{output.stem}.record.json")


def read_record(output: Path) -> dict:
    """The record of an output; a UserError names the file when it has none."""
    path = record_path(output)
    if not path.exists():
        raise UserError(f"{output} has no record ({path.name}): it was not made by a step. Delete it and run again.")
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON under a temporary name and rename it."""
    with atomic(path) as partial:
        partial.write_text(json.dumps(value, indent=1, sort_keys=False) + "\n", encoding="utf-8")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path that takes the name of `path` when the block ends without an error."""
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache
def lock_hash() -> str:
    """The first 16 digits of the sha256 of the lock of the science's environment."""
    return sha256(LOCK)[:16] if LOCK.exists() else "none"


@lru_cache
def commit() -> str:
    """The git commit of the checkout, with `-dirty` when tracked files differ from it; or `none (<why>)`.

    The repository is named: git neither looks for one in the folders above a download, nor refuses one that belongs to
    another user, whose code this process runs in any case.
    """
    repository = ROOT / ".git"
    command = ["git", f"--git-dir={repository}", f"--work-tree={ROOT}", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(
            [*command, "--abbrev=12", "--exclude=*"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError:
        return "none (git is not installed)"
    if done.returncode == 0:
        return done.stdout.strip()
    if not repository.exists():
        return "none (no git checkout)"
    return f"none (git fails: {' '.join(done.stderr.split())[-200:]})"


def code_fingerprint() -> dict[str, str]:
    """The sha256 (16 digits) of every file of the package that this process has loaded, by path below src/."""
    files = {
        Path(module.__file__).resolve()
        for name, module in list(sys.modules.items())
        if (name == "__main__" or name.split(".")[0] == "palimpsest") and getattr(module, "__file__", None)
    }
    inside = sorted(path for path in files if path.is_relative_to(PACKAGE))
    return {str(path.relative_to(PACKAGE.parent)): sha256(path)[:16] for path in inside}
