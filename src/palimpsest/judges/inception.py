"""FID's Inception network (Szegedy et al. 2015, weights of 2015-12-05) as NVIDIA's TorchScript translation of it.

It takes pictures of 0 to 255, resizes them to 299 pixels as the original graph did, and gives its last pooled layer.
"""

from pathlib import Path

import torch
from torch import Tensor

from palimpsest.judges.published import check_range, open_script
from palimpsest.run import UserError, torch_device

FEATURES = 2048


class Inception:
    """The network on a device; images may lie on any."""

    def __init__(self, network: torch.jit.ScriptModule, device: torch.device):
        self.network, self.device = network.to(device), device

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """The pooled layer (n, 2048) of images (n, 3, h, w) in [-1, 1], rounded to 8 bits as pictures in files are."""
        check_range(images)
        pixels = images.to(self.device).clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
        return self.network(pixels, return_features=True)

    def appearance(self, images: Tensor) -> Tensor:
        """What a picture looks like: the same layer, which sees noise as well as contents."""
        return self.features(images)


def load(network: Path, sha256: str | None = None) -> Inception:
    """The network, on a GPU where there is one. sha256: of the file, where no record beside it states it.

    Raises UserError for another file than the hash's, and for a network that gives no 2048 features.
    """
    judge = Inception(open_script(network, sha256), torch_device())
    try:
        found = tuple(judge.features(torch.zeros(1, 3, 64, 64)).shape)
    except RuntimeError as error:
        raise UserError(f"{network} takes no return_features: it is not NVIDIA's Inception network") from error
    if found != (1, FEATURES):
        raise UserError(f"{network} gives {found} for one picture, not (1, {FEATURES}): it is not FID's Inception")
    return judge
