"""What has no counterpart in the original: counting at scale, the cost of more images, drawing scenes."""

import tempfile
from pathlib import Path

import numpy as np

from bench.lcr import CONCEPT, network, random_grids
from bench.measure import Stopwatch, peak_allocated, row, take_turns
from bench.ours import Ours, Precision, ranked, replaced
from palimpsest.lcr.codes import count_codes
from palimpsest.models.vqgan import VQGANConfig
from palimpsest.run import torch_device
from palimpsest.worlds import scenes

TINY = VQGANConfig("gumbel", 512, 64, 64, 64, 64, (1, 1), 1, (), 2)
CODES = 8192


def counting(cells: int) -> list[dict]:
    """Count memory-mapped codes, and a tenth of them: time grows with their number, memory does not."""
    table = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "codes.npy"
        block = np.random.default_rng(0).integers(CODES, size=(cells // 10) // 100 * 100, dtype=np.uint16)
        codes = np.lib.format.open_memmap(path, "w+", np.uint16, (10 * len(block),))
        for start in range(0, len(codes), len(block)):
            codes[start : start + len(block)] = block
        codes.flush()
        for grids in (codes[: len(block)], np.load(path, mmap_mode="r")):
            taken = take_turns({"ours": lambda watch, grids=grids: _counted(grids, watch)}, 3)["ours"]
            peak = peak_allocated(lambda grids=grids: count_codes(grids, CODES))
            seconds = taken.wall["all"] * len(grids)
            remark = f"{seconds:.2f} s, {taken.processor['all'] * len(grids):.2f} s of processor time"
            size, memory = f"{len(grids):.0e} codes".replace("e+0", "e"), {"ours MB": peak, "memory": "allocated"}
            table.append(row("count memory-mapped codes", size, "codes/s", 1 / taken.wall["all"], remark, **memory))
    return table


def _counted(grids: np.ndarray, watch: Stopwatch) -> np.ndarray:
    with watch("all", len(grids)):
        return count_codes(grids, CODES)


def scaling(images: int, repetitions: int) -> list[dict]:
    """Encode, count, replace and decode ten times the images with the small models' architecture."""
    device = torch_device()
    way = Ours(network(TINY, device), device, Precision(), **CONCEPT)
    retain = count_codes(random_grids(50, TINY, 1), TINY.codes)
    pictures = scenes.make(10 * images, 0, "fit").images

    def run(count: int, watch: Stopwatch) -> None:
        with watch("all", 1):
            for start in range(0, count, 64):
                codes = way.encode(pictures[start : min(start + 64, count)])
                cells = np.ones(codes.shape, bool)
                context = way.context(ranked(count_codes(codes, TINY.codes), retain)[:100], retain)
                way.decode(replaced(codes, cells, context)["nn_embed"])

    run(images, Stopwatch())
    ways = {str(count): lambda watch, count=count: run(count, watch) for count in (images, 10 * images)}
    taken = take_turns(ways, repetitions)
    few, many = (taken[str(count)] for count in (images, 10 * images))
    cost = {name: getattr(many, name)["all"] / getattr(few, name)["all"] for name in ("wall", "processor")}
    remark = f"{cost['processor']:.2f} times the processor time; {10 * images / many.wall['all']:.3g} images/s"
    size = f"{10 * images} against {images} of 64 px"
    return [row("cost of ten times the images", size, "times the time", cost["wall"], remark)]


def generation(count: int, repetitions: int) -> list[dict]:
    """Draw scenes, one process."""
    table = []
    for side in (32, 64):

        def run(watch: Stopwatch, side: int = side) -> None:
            with watch("all", count):
                scenes.make(count, 0, "train", emblem="half", size=side)

        taken = take_turns({"ours": run}, repetitions)["ours"]
        remark = f"{1 / taken.processor['all']:.0f} per second of processor time"
        table.append(row("draw scenes", f"{count} of {side} px", "images/s", 1 / taken.wall["all"], remark))
    return table


def detection(images: int) -> list[dict]:
    """The ways of running NudeNet (bench/detection.py) against the package's loop."""
    from bench.detection import compare

    ways = compare(images)
    base = ways[0]
    return [
        row(
            f"NudeNet: {way['way']}",
            f"{images} of 320 px",
            "images/s",
            way["images_per_second"],
            original=base["images_per_second"],
            **{
                "gain": way["speedup"],
                "processor gain": way["processor_saving"],
                "original MB": base["peak_memory_mb"],
                "ours MB": way["peak_memory_mb"],
                "memory": "process",
            },
        )
        for way in ways[1:]
    ]
