"""Latent code replacement: every stage, and all of them together, by the original's way and by ours.

The architecture is that of vqgan_gumbel_f8 with random weights. Its projection to logits is multiplied by 10^6, so that
the original's random draw (which it still makes) takes the likeliest code, as ours does: both ways must agree.
"""

from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np
import torch

from bench import original, ours
from bench.detection import pictures
from bench.measure import Stopwatch, Taken, compared, peak_allocated, peak_of_process, take_turns
from bench.original import Original
from bench.ours import Ours, Precision
from palimpsest.lcr.codes import count_codes, patches
from palimpsest.models.training import has_bfloat16
from palimpsest.models.vqgan import VQGAN, VQGANConfig
from palimpsest.run import torch_device

CONCEPT = {"classes": ("FACE_FEMALE", "FACE_MALE"), "min_score": 0.25, "top": 250}
GAIN = 1e6
PRECISIONS = {
    "float32": Precision(),
    "float32, channels last": Precision(channels_last=True),
    "decoder bfloat16, channels last": Precision(decoder=torch.bfloat16, channels_last=True),
    "all bfloat16, channels last": Precision(torch.bfloat16, torch.bfloat16, channels_last=True),
}


def precisions_here() -> tuple[str, ...]:
    """The precisions that this machine computes in; bfloat16 without hardware for it is emulated, and takes minutes."""
    able = torch.cuda.is_available() or has_bfloat16()
    return tuple(
        name for name, each in PRECISIONS.items() if able or torch.bfloat16 not in (each.encoder, each.decoder)
    )


@dataclass(frozen=True)
class Size:
    """An architecture, how many images pass through it, how many grids are counted, how often ways take turns, and the
    precisions of ours."""

    architecture: VQGANConfig
    images: int
    grids: int
    repetitions: int
    precisions: tuple[str, ...] = field(default_factory=precisions_here)


F8 = VQGANConfig("gumbel", 8192, 256, 256, 256, 128, (1, 1, 2, 4), 2, (32,), 1)
SMALL = VQGANConfig("gumbel", 512, 32, 128, 32, 32, (1, 1, 2, 4), 1, (16,), 1)


def rows(size: Size) -> list[dict]:
    """The table's rows of this family."""
    # Before anything large is loaded here.
    memory = {
        way: [peak_of_process(one_stage, size, way, stage) for stage in STAGES] for way in (None, *size.precisions)
    }
    return networks(size, memory) + bookkeeping(size)


def network(architecture: VQGANConfig, device: torch.device) -> VQGAN:
    torch.manual_seed(0)
    model = VQGAN(architecture).eval().requires_grad_(False)
    model.quantize.proj.weight *= GAIN
    model.quantize.proj.bias *= GAIN
    return model.to(device)


def photographs(count: int, side: int) -> np.ndarray:
    """Faces, uint8 (count, side, side, 3)."""
    return np.stack([cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in pictures(count)])


def random_grids(count: int, architecture: VQGANConfig, seed: int) -> np.ndarray:
    """Grids (n, h, w) uint16 of codes, a few of them frequent as in real images."""
    side = architecture.resolution // architecture.downsampling
    shares = 1 / np.arange(1, architecture.codes + 1) ** 0.7
    rng = np.random.default_rng(seed)
    return rng.choice(architecture.codes, (count, side, side), p=shares / shares.sum()).astype(np.uint16)


def as_original(grids: np.ndarray) -> list[torch.Tensor]:
    """Codes as the original keeps them: one int64 tensor (1, h, w) per image."""
    return list(torch.from_numpy(grids.astype(np.int64))[:, None])


STAGES = ("encode", "decode")


def one_stage(size: Size, precision: str | None, stage: str) -> None:
    """Encode or decode once, by the original's way if no precision is given: for its memory."""
    device, images = torch_device(), photographs(size.images, size.architecture.resolution)
    model, codes = network(size.architecture, device), random_grids(size.images, size.architecture, 0)
    if precision is None:
        way, inputs = Original(model, device, **CONCEPT), {"encode": images[0], "decode": as_original(codes)[0]}
    else:
        way, inputs = Ours(model, device, PRECISIONS[precision], **CONCEPT), {"encode": images, "decode": codes}
    getattr(way, stage)(inputs[stage])


def pipelines(size: Size) -> tuple[dict, dict]:
    """Both ways through all stages, ours in every precision: (runs, for `take_turns`; their names)."""
    device = torch_device()
    model = network(size.architecture, device)
    images, retain = photographs(size.images, size.architecture.resolution), random_grids(200, size.architecture, 1)
    runs = {"original": partial(original.pipeline, Original(model, device, **CONCEPT), images, as_original(retain))}
    for name in size.precisions:
        runs[name] = partial(ours.pipeline, Ours(model, device, PRECISIONS[name], **CONCEPT), images, retain)
    return runs


def networks(size: Size, memory: dict) -> list[dict]:
    """The stages that run a network, and the whole pipeline."""
    taken = take_turns(pipelines(size), size.repetitions)
    base = taken.pop("original")
    side, images = size.architecture.resolution, size.images
    table = []
    for stage in ("encode", "decode", "detect", "all"):
        for name, way in taken.items():
            precision = PRECISIONS[name]
            if stage == "detect" and name != "float32":
                continue  # no precision touches the detector
            if stage == "encode" and precision.encoder != precision.decoder:
                continue  # the same as float32
            if stage == "decode" and precision.encoder != torch.float32:
                continue  # decoded above, from the same codes
            columns = {"remark": difference(base, way, stage)}
            if stage in STAGES:
                peak = [memory[key][STAGES.index(stage)] for key in (None, name)]
                columns |= {"original MB": peak[0], "ours MB": peak[1], "memory": "process"}
            label = "all stages, 3 rules" if stage == "all" else stage
            label += "" if stage == "detect" else f": {name}"
            table.append(compared(label, f"{images} of {side} px", "images/s", base, way, stage, **columns))
    return table


def difference(base: Taken, way: Taken, stage: str) -> str:
    """How far a way's result is from the original's."""
    first, second = base.result, way.result
    codes = f"{(first['codes'] != second['codes']).mean():.2%} of codes differ"
    gaps = [np.abs(first["images"][rule].astype(int) - second["images"][rule]) for rule in ("fixed", "nn_embed")]
    levels = f"pixels differ by at most {max(gap.max() for gap in gaps)}, {np.mean(gaps):.2g} on average, of 255"
    if stage == "detect":
        return f"{(first['cells'] != second['cells']).mean():.2%} of cells differ"
    return {"encode": codes, "decode": levels, "all": f"{codes}; {levels}"}[stage]


def bookkeeping(size: Size) -> list[dict]:
    """The stages that only handle codes, on many grids."""
    architecture, codes = size.architecture, size.architecture.codes
    forget, retain = (random_grids(size.grids, architecture, seed) for seed in (2, 3))
    listed = as_original(forget)
    counts = [count_codes(grids, codes) for grids in (forget, retain)]
    counters = [original.count(as_original(grids)) for grids in (forget, retain)]
    explicit = np.argsort(-counts[0], kind="stable")[:: max(codes // 2000, 1)][: codes // 4]
    model = network(architecture, torch.device("cpu"))
    way = Ours(model, torch.device("cpu"), Precision(), **CONCEPT)
    context = way.context(explicit, counts[1])
    everywhere = np.ones(forget.shape, bool)
    pairs = {
        "count codes": (forget.size, "codes/s", lambda: original.count(listed), lambda: count_codes(forget, codes)),
        "count 3x3 patches": (
            forget.size,
            "codes/s",
            lambda: original.count_patches(listed),
            lambda: np.bincount(patches(forget, 3, 3).ravel()),
        ),
        "score codes by ratio": (
            codes,
            "codes/s",
            lambda: original.ranking(*counters, codes),
            lambda: ours.ranked(*counts),
        ),
        f"replace {len(explicit)} codes everywhere, 3 rules": (
            3 * len(forget),
            "grids/s",
            lambda: original.replaced_everywhere(listed, model.codebook, explicit, context.safe),
            lambda: ours.replaced(forget, everywhere & np.isin(forget, explicit), context),
        ),
    }
    table = []
    for measure, (items, unit, *ways) in pairs.items():
        timed = take_turns({str(index): partial(_timed, call, items) for index, call in enumerate(ways)}, 3)
        peaks = dict(zip(("original MB", "ours MB"), map(peak_allocated, ways), strict=True))
        label = f"{len(forget)} grids" if unit != "codes/s" or items != codes else f"{codes} codes"
        table.append(compared(measure, label, unit, timed["0"], timed["1"], "all", memory="allocated", **peaks))
    return table


def _timed(call, items: int, watch: Stopwatch):
    with watch("all", items):
        return call()
