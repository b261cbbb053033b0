"""A published classifier of pictures by its folder: ImageNet's ResNet-50 (He et al. 2016), or one of artists.

Any network for image classification in the layout of transformers, with its own labels. Preprocessing is what its
preprocessor_config.json states: side, share of the picture that is cut out of the middle, normalisation.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from palimpsest.judges.batches import in_batches
from palimpsest.judges.published import check_range
from palimpsest.run import UserError, torch_device


class ImageClasses:
    """The network on a device. labels: the name of each class."""

    def __init__(self, network: nn.Module, prepare: dict, device: torch.device):
        self.network, self.prepare, self.device = network.to(device), prepare, device
        self.labels = [network.config.id2label[number] for number in range(len(network.config.id2label))]

    def ranked(self, pictures: np.ndarray) -> np.ndarray:
        """The classes of each picture (n, classes), by number, the likeliest first; pictures (n, H, W, 3) uint8."""
        return (-in_batches(self.logits, pictures)).argsort(1, kind="stable")

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, 3, h, w) in [-1, 1]."""
        check_range(images)
        return self.network(pixel_values=prepared(images.to(self.device), **self.prepare)).logits

    def number_of(self, label: str | int, concept: str) -> int:
        """The number of a class by its name or number. Raises UserError for one that it does not have."""
        text = str(label)
        if text.isdigit() and int(text) < len(self.labels):
            return int(text)
        if text not in self.labels:
            raise UserError(
                f"concept {concept}: its judge has no class {text!r}; it has {len(self.labels)}, among them "
                f"{', '.join(self.labels[:5])}. Correct the label"
            )
        return self.labels.index(text)


def prepared(images: Tensor, side: int, share: float, mean: list[float], spread: list[float]) -> Tensor:
    """Images in [-1, 1] as the network takes them. share: of the side, cut out; 1 takes the picture whole, squashed."""
    if share < 1:
        scale = side / share / min(images.shape[2:])
        size = [max(side, round(length * scale)) for length in images.shape[2:]]
    else:
        size = [side, side]
    images = F.interpolate(images.float(), size, mode="bicubic", antialias=True).clamp(-1, 1)
    top, left = ((length - side) // 2 for length in images.shape[2:])
    middle, width = (images.new_tensor(values).view(1, 3, 1, 1) for values in (mean, spread))
    return ((images[:, :, top : top + side, left : left + side] + 1) / 2 - middle) / width


def load(network: Path) -> ImageClasses:
    """The classifier, on a GPU where there is one. network: what `check_folder` wrote.

    Raises UserError for a folder of another kind, or whose weights do not fit its config.json.
    """
    from transformers import AutoModelForImageClassification

    folder = Path(json.loads(network.read_text(encoding="utf-8"))["folder"])
    loaded = opened(AutoModelForImageClassification, folder)
    return ImageClasses(loaded, settings_of(folder / "preprocessor_config.json"), torch_device())


def opened(kind: type, folder: Path) -> nn.Module:
    """A network of a kind of transformers; the library would give what is missing random weights and go on."""
    try:
        network, found = kind.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{folder} is no folder of a {kind.__name__}: {error}") from error
    faults = {key: sorted(map(str, found[key])) for key in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    faults = {key: [name for name in names if "position_ids" not in name] for key, names in faults.items()}
    if any(faults.values()):
        listed = "; ".join(f"{key} {', '.join(names[:20])}" for key, names in faults.items() if names)
        raise UserError(f"{folder} does not fit its own config.json; {listed}. Fetch the folder again")
    return network.eval().requires_grad_(False)


def settings_of(path: Path) -> dict:
    """How pictures are prepared, as a preprocessor_config.json states it in either of its two forms."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        size = content["size"]
        side = size if isinstance(size, int) else size.get("shortest_edge") or size["height"]
        return {
            "side": int(side),
            "share": float(content.get("crop_pct") or 1.0),
            "mean": [float(value) for value in content["image_mean"]],
            "spread": [float(value) for value in content["image_std"]],
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not say how pictures are prepared: size, image_mean and image_std "
            f"({type(error).__name__}: {error}). Give the file that belongs to the weights"
        ) from error
