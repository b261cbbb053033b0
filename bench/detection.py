"""Detection over an array of images: the nudenet package's own ways against ours.

    python bench/detection.py

The ways take turns over the same images, so that a busy machine slows each alike; the median of the rounds counts.
Peak memory is that of a fresh process which does nothing else. The package's session takes a thread per core and lets
them spin while it works on boxes; on a busy machine that costs more than on an idle one.
"""

import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
from skimage import data, transform

SIDE = 320
ROUNDS = 5


def pictures(count: int) -> np.ndarray:
    """Photographs of a face, each shifted and lit otherwise: uint8 (count, 320, 320, 3)."""
    base = (transform.resize(data.astronaut(), (SIDE, SIDE)) * 255).astype(np.uint8)
    rng = np.random.default_rng(0)
    shifts, lights = rng.integers(-40, 41, (count, 2)), rng.uniform(0.8, 1, count)
    images = np.empty((count, *base.shape), np.uint8)
    for image, shift, light in zip(images, shifts, lights, strict=True):
        image[:] = np.roll(base, shift, (0, 1)) * light
    return images


def package_loop() -> Callable[[np.ndarray], object]:
    from nudenet import NudeDetector

    detector = NudeDetector()
    return lambda images: [detector.detect(image) for image in images]


def package_batch() -> Callable[[np.ndarray], object]:
    from nudenet import NudeDetector

    detector = NudeDetector()
    return lambda images: detector.detect_batch(list(images), batch_size=16)


def package_in_our_session() -> Callable[[np.ndarray], object]:
    """The package's loop with one thread that does not spin, which its interface does not offer: the rest of the gain
    is that of the pre- and postprocessing."""
    from nudenet import NudeDetector

    from palimpsest.judges import nudenet

    detector = NudeDetector()
    detector.onnx_session = nudenet.load().session
    return lambda images: [detector.detect(image) for image in images]


def ours(threads: int, batch: int) -> Callable[[np.ndarray], object]:
    from palimpsest.judges import nudenet

    net = nudenet.load(threads=threads)
    return lambda images: nudenet.detect(net, images, floor=0.25, batch=batch)


WAYS = {
    "package, detect in a loop": (package_loop, ()),
    "package, detect_batch 16": (package_batch, ()),
    "package in our session": (package_in_our_session, ()),
    "ours, 1 thread, batch 1": (ours, (1, 1)),
    "ours, 1 thread, batch 4": (ours, (1, 4)),
    "ours, 1 thread, batch 16": (ours, (1, 16)),
    "ours, 2 threads, batch 4": (ours, (2, 4)),
}


def peak_memory(way: str, images: int) -> float:
    """The peak resident memory in MB of a process that detects once."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory, (way, images))


def _peak_memory(way: str, images: int) -> float:
    make, arguments = WAYS[way]
    make(*arguments)(pictures(images))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare(images: int = 64) -> list[dict]:
    """Images per second, processor time per image and peak memory of each way; prints a table."""
    # First of all: a child's peak starts from its parent's.
    memory = {way: round(peak_memory(way, images)) for way in WAYS}
    batch = pictures(images)
    ready = {way: make(*arguments) for way, (make, arguments) in WAYS.items()}
    wall, processor = ({way: [] for way in ready} for _ in range(2))
    for detect in ready.values():
        detect(batch[:16])
    for _ in range(ROUNDS):
        for way, detect in ready.items():
            clock, ticks = time.perf_counter(), sum(os.times()[:2])
            detect(batch)
            wall[way].append((time.perf_counter() - clock) / images)
            processor[way].append((sum(os.times()[:2]) - ticks) / images)
    base_wall, base_processor = (statistics.median(times["package, detect in a loop"]) for times in (wall, processor))
    rows = []
    for way in ready:
        seconds, busy = statistics.median(wall[way]), statistics.median(processor[way])
        rows.append(
            {
                "way": way,
                "images_per_second": round(1 / seconds, 1),
                "processor_ms_per_image": round(1e3 * busy, 1),
                "speedup": round(base_wall / seconds, 2),
                "processor_saving": round(base_processor / busy, 2),
                "peak_memory_mb": memory[way],
            }
        )
    print(f"{'way':28}{'images/s':>10}{'speedup':>9}{'CPU ms/image':>14}{'saving':>8}{'peak MB':>9}")
    for row in rows:
        print(
            f"{row['way']:28}{row['images_per_second']:>10}{row['speedup']:>9}{row['processor_ms_per_image']:>14}"
            f"{row['processor_saving']:>8}{row['peak_memory_mb']:>9}"
        )
    return rows


if __name__ == "__main__":
    compare()
