"""SSCD, the descriptor of image copies (Pizzi et al. 2022): its published TorchScript `sscd_disc_mixup`.

Preprocessing is the authors' for whole pictures: the short side to 288 pixels, ImageNet's normalisation.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from palimpsest.judges.published import check_range, open_script
from palimpsest.run import UserError, torch_device

SHORT_SIDE, DIMENSIONS = 288, 512
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class SSCD:
    """The network on a device; images may lie on any."""

    def __init__(self, network: torch.jit.ScriptModule, device: torch.device):
        self.network, self.device = network.to(device), device

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """Unit vectors (n, 512) of images (n, 3, h, w) in [-1, 1]."""
        check_range(images)
        return F.normalize(self.network(prepared(images.to(self.device))), dim=1)


def prepared(images: Tensor) -> Tensor:
    """Images in [-1, 1] as the network takes them: resized with antialiasing, normalised."""
    height, width = images.shape[2:]
    scale = SHORT_SIDE / min(height, width)
    size = (round(height * scale), round(width * scale))
    images = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
    mean, spread = (images.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, SPREAD))
    return ((images + 1) / 2 - mean) / spread


def load(network: Path, sha256: str | None = None) -> SSCD:
    """The descriptor, on a GPU where there is one. sha256: of the file, where no record beside it states it.

    Raises UserError for another file than the hash's, and for a network that gives no 512 values per picture.
    """
    judge = SSCD(open_script(network, sha256), torch_device())
    found = judge.embed(torch.zeros(1, 3, SHORT_SIDE, SHORT_SIDE))
    if found.shape != (1, DIMENSIONS):
        raise UserError(f"{network} gives {tuple(found.shape)} for one picture, not (1, {DIMENSIONS}): it is no SSCD")
    return judge
