"""Ways of doing one thing, timed in turn, and their memory."""

import multiprocessing
import statistics
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from palimpsest.run import torch_device

COLUMNS = (
    "measure",
    "size",
    "unit",
    "original",
    "ours",
    "gain",
    "processor gain",
    "original MB",
    "ours MB",
    "memory",
    "remark",
)


class Stopwatch:
    """Wall and processor seconds of named stages, and how many items each handled."""

    def __init__(self):
        self.wall, self.processor, self.items = Counter(), Counter(), Counter()

    @contextmanager
    def __call__(self, stage: str, items: int) -> Iterator[None]:
        wait()
        wall, processor = time.perf_counter(), time.process_time()
        yield
        wait()
        self.wall[stage] += time.perf_counter() - wall
        self.processor[stage] += time.process_time() - processor
        self.items[stage] += items


@dataclass(frozen=True)
class Taken:
    """Median seconds per item of every stage of a way, and what the way returned last."""

    wall: dict[str, float]
    processor: dict[str, float]
    result: object


def wait() -> None:
    """A GPU works behind our back: wait until it has finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def take_turns(ways: dict[str, Callable[[Stopwatch], object]], repetitions: int) -> dict[str, Taken]:
    """Run the ways one after the other, again and again, so that a busy machine slows each alike."""
    watches, results = {way: [] for way in ways}, {}
    for _ in range(repetitions):
        for way, run in ways.items():
            watch = Stopwatch()
            results[way] = run(watch)
            watches[way].append(watch)
    return {way: Taken(*_medians(watches[way]), results[way]) for way in ways}


def _medians(watches: list[Stopwatch]) -> list[dict[str, float]]:
    return [
        {
            stage: statistics.median(getattr(watch, clock)[stage] / watch.items[stage] for watch in watches)
            for stage in watches[0].items
        }
        for clock in ("wall", "processor")
    ]


def row(measure: str, size: str, unit: str, ours: float, remark: str = "", **columns) -> dict:
    """A row of the table without a counterpart in the original; what is not given stays empty."""
    return {name: "" for name in COLUMNS} | {
        "measure": measure,
        "size": size,
        "unit": unit,
        "ours": ours,
        "remark": remark,
        **columns,
    }


def compared(measure: str, size: str, unit: str, original: Taken, ours: Taken, stage: str, **columns) -> dict:
    """A row that sets a stage of ours against the same stage of the original's way, in items per second."""
    gains = {
        "gain": original.wall[stage] / ours.wall[stage],
        "processor gain": original.processor[stage] / ours.processor[stage],
    }
    return row(measure, size, unit, 1 / ours.wall[stage], original=1 / original.wall[stage], **gains, **columns)


def product_per_second(side: int, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a product of square matrices."""
    one = torch.randn(side, side, device=torch_device()).to(dtype)

    def run(watch: Stopwatch) -> None:
        one @ one
        with watch("all", 1):
            one @ one

    return 2 * side**3 / take_turns({"product": run}, 3)["product"].wall["all"]


def peak_of_process(function: Callable[..., None], *arguments) -> float:
    """Peak resident memory (MB) of a fresh process that calls the function once: libraries and weights included."""
    # A server that has only imported the libraries is forked: that saves every process their import.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    with context.Pool(1) as pool:
        return pool.apply(_peak_of_process, (function, arguments))


def _peak_of_process(function, arguments) -> float:
    function(*arguments)
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    # Not ru_maxrss, which starts from the parent's peak.
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6


def peak_allocated(function: Callable[[], object]) -> float:
    """Peak memory (MB) that a call allocates through Python and numpy; pages of mapped files are not in it."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
