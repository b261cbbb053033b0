"""NudeNet (the `nudenet` package's bundled YOLOv8n, 320n.onnx) as a detector over arrays of images.

The package itself is never imported: its network runs in a session of our own. What differs from its `detect`:

* the network sees **RGB**, the order it was trained on. The package swaps its input's channels twice, so that the BGR
  arrays it is usually given reach the network as BGR; `channels="bgr"` gives that published recipe;
* scores below the package's floors (0.2 and 0.25) can be had, so one pass serves every later threshold;
* a box over the left or top edge is cut at it; the package shifts it inwards and keeps its width;
* coordinates are not truncated to whole pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import onnxruntime

from palimpsest.judges.boxes import Detections, suppress
from palimpsest.run import UserError

CLASSES = (
    "FEMALE_GENITALIA_COVERED",
    "FACE_FEMALE",
    "BUTTOCKS_EXPOSED",
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED",
    "ANUS_EXPOSED",
    "FEET_EXPOSED",
    "BELLY_COVERED",
    "FEET_COVERED",
    "ARMPITS_COVERED",
    "ARMPITS_EXPOSED",
    "FACE_MALE",
    "BELLY_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
    "ANUS_COVERED",
    "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
)
STRIDE = 32


@dataclass(frozen=True)
class NudeNet:
    """A session over the network: input (n, 3, s, s) in [0, 1], output (n, 4 + 18, anchors)."""

    session: onnxruntime.InferenceSession

    def __call__(self, blob: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.session.get_inputs()[0].name: blob})[0]


def load(
    model_path: str | Path | None = None,
    threads: int = 1,
    providers: Sequence[str] = ("CPUExecutionProvider",),
) -> NudeNet:
    """Open the package's network, or another one of its format, with `threads` threads on the first of `providers`."""
    path = Path(model_path) if model_path is not None else bundled_path()
    if not path.is_file():
        raise UserError(f"NudeNet's network {path}: no such file. Leave its path out to use the nudenet package's own.")
    absent = sorted(set(providers) - set(onnxruntime.get_available_providers()))
    if absent:
        raise UserError(
            f"onnxruntime here has no {', '.join(absent)} (it has {', '.join(onnxruntime.get_available_providers())}). "
            "Give CPUExecutionProvider, or install the onnxruntime build of your accelerator."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads sleep: by default they spin through our pre- and postprocessing, on cores other jobs could use.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise UserError(
            f"{path} is no readable ONNX network ({error}). Fetch it again, or leave its path out."
        ) from error
    shape = session.get_outputs()[0].shape
    if len(session.get_inputs()) != 1 or len(shape) != 3 or shape[1] != 4 + len(CLASSES):
        raise UserError(
            f"{path} gives {shape} per batch, not 4 + {len(CLASSES)} values per anchor: it is no NudeNet v3."
        )
    return NudeNet(session)


def opened(
    network: Path | None = None,
    *,
    resolution: int = 320,
    channels: Literal["rgb", "bgr"] = "rgb",
    floor: float = 0.05,
    threads: int = 1,
) -> Callable[[np.ndarray], Detections]:
    """A function from uint8 RGB images (n, H, W, 3) to Detections; network: another ONNX file, or the package's own."""
    net = load(network, threads)
    return lambda images: detect(net, images, resolution=resolution, channels=channels, floor=floor)


def bundled_path() -> Path:
    """Where the installed nudenet package keeps its network; the package is not imported."""
    package = find_spec("nudenet")
    if package is None or package.origin is None:
        raise UserError("the package nudenet is not installed: install the environment's lock, or give model_path.")
    return Path(package.origin).with_name("320n.onnx")


def class_indices(names: Sequence[str]) -> np.ndarray:
    """The index of each class name; a UserError lists the 18 classes if one is unknown."""
    unknown = [name for name in names if name not in CLASSES]
    if unknown:
        raise UserError(f"NudeNet has no class {', '.join(unknown)}: its classes are {', '.join(CLASSES)}.")
    return np.array([CLASSES.index(name) for name in names], int)


def detect(
    net: NudeNet,
    images: np.ndarray,
    *,
    resolution: int = 320,
    floor: float = 0.05,
    overlap: float = 0.45,
    channels: Literal["rgb", "bgr"] = "rgb",
    batch: int = 16,
) -> Detections:
    """Boxes scoring at least `floor` in uint8 RGB images (n, H, W, 3), in float pixels of the images.

    Each anchor gives its best class; overlapping boxes are suppressed whatever their class, as the package does.
    resolution: the side in pixels, a multiple of 32, to which the images are scaled for the network.
    channels: the channel order that the network sees.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(f"images are {images.dtype} {images.shape}: give uint8 (n, H, W, 3)")
    if resolution < STRIDE or resolution % STRIDE:
        raise UserError(f"NudeNet's resolution is {resolution}: give a multiple of {STRIDE}, such as 320.")
    if channels not in ("rgb", "bgr"):
        raise UserError(f"NudeNet's channel order is {channels!r}: give rgb or bgr.")
    if not 0 < floor < 1 or not 0 < overlap <= 1:
        raise UserError(f"NudeNet's floor is {floor} and its overlap {overlap}: give numbers between 0 and 1.")
    parts = [
        decode(net(preprocess(images[start : start + batch], resolution, channels)), start, floor)
        for start in range(0, len(images), batch)
    ]
    if not parts:
        return Detections(np.empty(0, int), np.empty(0, int), np.empty(0, np.float32), np.empty((0, 4), np.float32))
    image, label, score, box = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    height, width = images.shape[1:3]
    box = np.clip(box * (max(height, width) / resolution), 0, (width, height, width, height)).astype(np.float32)
    # A box that lies in the padding alone has no area left.
    inside = (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
    return suppress(Detections(image, label, score, box).select(inside), overlap)


def preprocess(images: np.ndarray, resolution: int, channels: str = "rgb") -> np.ndarray:
    """uint8 RGB (n, H, W, 3), padded right and below to a square with black, as float32 (n, 3, s, s) in [0, 1]."""
    height, width = images.shape[1:3]
    side = max(height, width)
    if height != width:
        images = np.pad(images, ((0, 0), (0, side - height), (0, side - width), (0, 0)))
    return cv2.dnn.blobFromImages(list(images), 1 / 255, (resolution, resolution), swapRB=channels == "bgr")


def decode(output: np.ndarray, first: int, floor: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Image index (from `first`), class, score and corners of every anchor of (n, 22, anchors) that reaches `floor`."""
    best = output[:, 4:].max(1)
    image, anchor = np.nonzero(best >= floor)
    x, y, width, height = output[image, :4, anchor].T
    box = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 1)
    return image + first, output[image, 4:, anchor].argmax(1), best[image, anchor], box
