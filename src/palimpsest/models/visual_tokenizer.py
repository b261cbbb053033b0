"""The tokenizer of a next-scale model: pictures to tokens of growing scales, and back.

diffusers' convolutional encoder and decoder (those of AutoencoderKL) around a residual quantiser. A tokenizer is known
by the file of its weights; beside it stands its architecture, config.json. Weights are kept in half precision.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from palimpsest.models.latent_networks import Decoder, Encoder
from palimpsest.models.pixels import to_tensor, to_uint8
from palimpsest.models.residual_quantiser import ResidualQuantiser
from palimpsest.models.weights import filled, save_part
from palimpsest.run import UserError

CONFIG = "config.json"


class VisualTokenizer(nn.Module):
    """Pictures (n, 3, H, W) in [-1, 1] to features (n, c, side, side), tokens, and back.

    quantiser: as `ResidualQuantiser` takes it; blocks: channels of each resolution, each half of the one before;
    layers: residual blocks of each; groups: of their normalisation; patch: pixels of a side that are folded into
    channels first. A side of the grid is H / patch / 2^(resolutions - 1). attention: whether places look at each other
    at the last resolution, and in the middle; around: whether a convolution stands before the quantiser and one after
    it. VAR's tokenizer has both, Infinity's neither.
    """

    def __init__(
        self,
        quantiser: dict,
        blocks: list[int],
        layers: int,
        groups: int,
        patch: int,
        attention: bool = False,
        around: bool = False,
    ):
        super().__init__()
        self.config = {"quantiser": quantiser, "blocks": blocks, "layers": layers, "groups": groups, "patch": patch}
        self.config |= {"attention": attention, "around": around}
        self.quantiser, self.patch = ResidualQuantiser(**quantiser), patch
        pixels, features = 3 * patch**2, self.quantiser.channels
        common = {"block_out_channels": tuple(blocks), "layers_per_block": layers, "norm_num_groups": groups}
        common |= {"mid_block_add_attention": attention}
        down, up = ["DownEncoderBlock2D"] * len(blocks), ["UpDecoderBlock2D"] * len(blocks)
        if attention:
            down[-1], up[0] = "AttnDownEncoderBlock2D", "AttnUpDecoderBlock2D"
        self.encoder = Encoder(pixels, features, down_block_types=down, double_z=False, **common)
        self.decoder = Decoder(features, pixels, up_block_types=up, **common)
        self.before = nn.Conv2d(features, features, 3, padding=1) if around else nn.Identity()
        self.after = nn.Conv2d(features, features, 3, padding=1) if around else nn.Identity()

    @property
    def image_size(self) -> int:
        """The side of the pictures, in pixels."""
        return self.quantiser.sizes[-1] * self.patch * 2 ** (len(self.config["blocks"]) - 1)

    def encode(self, pictures: Tensor) -> Tensor:
        """Features (n, c, side, side), before quantisation."""
        return self.before(self.encoder(F.pixel_unshuffle(pictures, self.patch)))

    def decode(self, features: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) of quantised features; not clipped."""
        return F.pixel_shuffle(self.decoder(self.after(features)), self.patch)

    def forward(self, pictures: Tensor, offsets: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """What comes back of pictures, with their features and those of their tokens.

        The gradient of the features is that of what the decoder sees: it goes straight through the quantiser. offsets:
        symbols that are wrong, as `ResidualQuantiser.quantise` takes them.
        """
        features = self.encode(pictures)
        total = self.quantiser.quantise(features.detach().float(), offsets).total
        # The codebook's own gradient is that of the loss that draws it to the features.
        return self.decode(features + (total - features).detach()), features, total


def save(path: Path, network: VisualTokenizer, half: bool = True) -> None:
    """Write the weights to a path, in half precision unless told otherwise, and the architecture beside it."""
    (path.parent / CONFIG).write_text(json.dumps(network.config, indent=1) + "\n", encoding="utf-8")
    save_part(path, network, half)


def load(path: Path) -> VisualTokenizer:
    """The tokenizer behind a file of weights, in evaluation mode and frozen, in float32; every key is checked.

    Raises UserError for a file without an architecture, and for weights of another one: other bits, scales or blocks.
    """
    network = VisualTokenizer(**read_config(path, VisualTokenizer))
    return filled(network, path).eval().requires_grad_(False)


def read_config(path: Path, kind: type) -> dict:
    """The architecture beside a file of weights."""
    place = path.parent / CONFIG
    try:
        return json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{place} is missing: it says which {kind.__name__} the weights of {path} are of") from error
    except ValueError as error:
        raise UserError(f"{place} is no readable JSON ({error}). Take the folder of the model again, whole") from error


@torch.inference_mode()
def encode(network: VisualTokenizer, pictures: np.ndarray, batch: int = 128) -> Tensor:
    """Features (n, c, side, side) on the CPU of pictures (n, H, W, 3) uint8.

    Raises UserError for pictures of another size.
    """
    if pictures.shape[1:3] != (network.image_size, network.image_size):
        raise UserError(
            f"the tokenizer takes pictures of {network.image_size} x {network.image_size} pixels, these have "
            f"{pictures.shape[2]} x {pictures.shape[1]}"
        )
    device = next(network.parameters()).device
    parts = range(0, len(pictures), batch)
    return torch.cat([network.encode(to_tensor(pictures[start : start + batch]).to(device)).cpu() for start in parts])


@torch.inference_mode()
def decode(network: VisualTokenizer, features: Tensor, batch: int = 128) -> np.ndarray:
    """Pictures (n, H, W, 3) uint8 of quantised features (n, c, side, side)."""
    device = next(network.parameters()).device
    return np.concatenate([to_uint8(network.decode(part.to(device))) for part in features.split(batch)])
