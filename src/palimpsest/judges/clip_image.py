"""CLIP as a descriptor of what a picture shows (Radford et al. 2021): its tower of pictures and the projection.

Preprocessing is the authors': the short side to the network's pixels, bicubic, the centre cut out, their normalisation.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPVisionModelWithProjection

from palimpsest.judges.published import check_range
from palimpsest.models import clip
from palimpsest.run import torch_device

MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class CLIPImage:
    """The network on a device; images may lie on any."""

    def __init__(self, network: CLIPVisionModelWithProjection, device: torch.device):
        self.network, self.device = network.to(device), device
        self.side = network.config.image_size

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """Unit vectors (n, 768 for ViT-L/14) of images (n, 3, h, w) in [-1, 1]."""
        check_range(images)
        return F.normalize(self.network(prepared(images.to(self.device), self.side)).image_embeds, dim=1)


def prepared(images: Tensor, side: int) -> Tensor:
    """Images in [-1, 1] as the network takes them: `side` pixels wide and high, normalised."""
    height, width = images.shape[2:]
    scale = side / min(height, width)
    size = (max(side, int(height * scale)), max(side, int(width * scale)))
    # As Pillow resizes pictures of 8 bits: in two passes, each rounded.
    for step in ((height, size[1]), size):
        if step != tuple(images.shape[2:]):
            images = F.interpolate(images.float(), step, mode="bicubic", antialias=True)
            images = images.add(1).mul(127.5).round().clamp(0, 255).div(127.5).sub(1)
    top, left = ((length - side) // 2 for length in size)
    images = images[:, :, top : top + side, left : left + side]
    mean, spread = (images.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, SPREAD))
    return ((images + 1) / 2 - mean) / spread


def load(network: Path) -> CLIPImage:
    """The descriptor, on a GPU where there is one. network: what `palimpsest.models.convert_clip` wrote."""
    return CLIPImage(clip.load(network), torch_device())
