"""Measure everything, print one table, write it to results/bench.md and results/bench.csv."""

import argparse
import os
import platform
import time
from pathlib import Path

import pandas as pd
import torch

from bench import erasure, instance, lcr, memory, others, var
from bench.measure import COLUMNS
from palimpsest.run import ROOT, keep_freed_memory

PARTS = {
    "nudenet": lambda images, quick: others.detection(2 if quick else 32),
    "lcr": lambda images, quick: lcr.rows(
        lcr.Size(lcr.SMALL, images, 20, 1, ("float32",)) if quick else lcr.Size(lcr.F8, images, 500, 3)
    ),
    "instance": lambda images, quick: instance.rows(
        instance.TINY if quick else instance.CELEBA if torch.cuda.is_available() else instance.MEDIUM
    ),
    "erasure": lambda images, quick: (
        erasure.rows(erasure.TINY, erasure.FEW)
        if quick
        else erasure.rows(erasure.SD14 if torch.cuda.is_available() else erasure.MEDIUM, erasure.ALL)
    ),
    "memory": lambda images, quick: memory.rows(memory.QUICK if quick else memory.WHOLE),
    "var": lambda images, quick: var.rows(
        var.TINY if quick else var.INFINITY if torch.cuda.is_available() else var.MEDIUM
    ),
    "counting": lambda images, quick: others.counting(10**5 if quick else 10**8),
    "scaling": lambda images, quick: others.scaling(*((2, 1) if quick else (64, 3))),
    "scenes": lambda images, quick: others.generation(*((20, 1) if quick else (500, 3))),
}


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--images", type=int, default=2, help="images that pass through the large architecture")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part only; may be repeated")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, whose times say nothing")
    parser.add_argument("--folder", type=Path, default=ROOT / "results", help="where the table is written")
    options = parser.parse_args(arguments)
    keep_freed_memory()  # as every step does
    before, started, clock = os.getloadavg(), time.strftime("%Y-%m-%d %H:%M"), time.perf_counter()
    rows = [row for name in options.only or PARTS for row in PARTS[name](options.images, options.quick)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    notes = _notes(before, started, time.perf_counter() - clock, options.quick)
    shown = table.map(lambda value: f"{value:.3g}" if isinstance(value, float) and value < 1000 else value)
    shown = shown.map(lambda value: f"{value:,.0f}" if isinstance(value, float) else value)
    text = shown.to_markdown(index=False, disable_numparse=True) + "\n\n" + notes
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "bench.md").write_text(text, encoding="utf-8")
    table.to_csv(options.folder / "bench.csv", index=False)
    print(text)
    return table


def _notes(before: tuple[float, ...], started: str, seconds: float, quick: bool) -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({platform.machine()})"
    load = " then ".join(f"{average[0]:.1f}" for average in (before, os.getloadavg()))
    lines = [
        f"{started}, {seconds:.0f} s, on {device}: {os.cpu_count()} cores, {torch.get_num_threads()} torch threads, "
        f"torch {torch.__version__}; load average {load}, this run included.",
        "Gain: medians of wall time over ways that took turns; processor gain: of processor time of this process, "
        "which other programs disturb less (on a GPU it says nothing).",
        "Memory: `process` is the peak resident memory of a fresh process that does only this, libraries and weights "
        "included (on a GPU the peak of its allocations); `allocated` is what Python and numpy allocate, without the "
        "tensors of torch and without pages of mapped files.",
        "The original's way is written anew from a description; weights are random, except those of the released model "
        "that the memory audit reads.",
    ]
    if quick:
        lines.insert(0, "QUICK: sizes so small that these times mean nothing.")
    return "\n".join(f"* {line}" for line in lines) + "\n"


if __name__ == "__main__":
    main()
