"""VQ-GAN: taming-transformers' encoder and decoder (Esser et al. 2021) behind one small interface.

Two quantisers, with taming's own key names, so that published checkpoints load strictly:

* `gumbel`: a 1x1 convolution gives logits over the codes, `embed` decodes them. taming draws the code even in
  evaluation, code ~ Categorical(softmax(logits)); here `encode` takes the argmax unless a generator is given.
* `nearest`: the code is the row of `embedding` closest to the encoder's output.

`patch` folds patch x patch pixels into channels before the encoder and back after the decoder: the small models of
the procedural worlds use 2, published ones 1.
"""

import contextlib
import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from taming.modules.diffusionmodules.model import Decoder, Encoder
from torch import Tensor, nn
from torch.nn import functional as F

from palimpsest.models import weights
from palimpsest.models.pixels import to_uint8


@dataclass(frozen=True)
class VQGANConfig:
    """Architecture of a VQ-GAN. codes is the codebook size K, resolution the side of the square training images."""

    quantiser: Literal["gumbel", "nearest"]
    codes: int
    embed_dim: int
    resolution: int
    z_channels: int
    ch: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    attn_resolutions: tuple[int, ...] = ()
    patch: int = 1
    in_channels: int = field(default=3)

    def __post_init__(self):
        if self.quantiser not in ("gumbel", "nearest"):
            raise ValueError(f"quantiser is {self.quantiser!r}: give gumbel or nearest")
        object.__setattr__(self, "ch_mult", tuple(self.ch_mult))
        object.__setattr__(self, "attn_resolutions", tuple(self.attn_resolutions))

    @property
    def downsampling(self) -> int:
        """Pixels per side of a code cell (the f of "f8")."""
        return self.patch * 2 ** (len(self.ch_mult) - 1)

    def taming(self) -> dict:
        """taming's ddconfig of the encoder and decoder."""
        channels = self.in_channels * self.patch**2
        return {
            "ch": self.ch,
            "out_ch": channels,
            "ch_mult": self.ch_mult,
            "num_res_blocks": self.num_res_blocks,
            "attn_resolutions": self.attn_resolutions,
            "in_channels": channels,
            "resolution": self.resolution // self.patch,
            "z_channels": self.z_channels,
            "double_z": False,
        }


def pick(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The argmax code of each cell (n, h, w), or with a generator a draw from softmax(logits) (Gumbel-max trick)."""
    if generator is not None:
        logits = logits - torch.empty_like(logits).exponential_(generator=generator).log()
    return logits.argmax(1)


class GumbelCodebook(nn.Module):
    """Codes chosen by a projection to logits and decoded by an embedding; nothing ties the two geometries."""

    def __init__(self, config: VQGANConfig):
        super().__init__()
        self.proj = nn.Conv2d(config.z_channels, config.codes, 1)
        self.embed = nn.Embedding(config.codes, config.embed_dim)

    def logits(self, z: Tensor) -> Tensor:
        return self.proj(z)

    @property
    def weight(self) -> Tensor:
        return self.embed.weight


class NearestCodebook(nn.Module):
    """Codes chosen as the nearest embedding; the logits are negative squared distances."""

    def __init__(self, config: VQGANConfig):
        super().__init__()
        self.embedding = nn.Embedding(config.codes, config.embed_dim)

    def logits(self, z: Tensor) -> Tensor:
        # The sum, and its order, of taming's VectorQuantizer2: where several codes are equally near in float32, the
        # code is that of the published models. The squared length of z is the same for every code, its rounding is not.
        count, _, height, width = z.shape
        cells = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        # A codebook that is farther from the origin than it is wide would lose its distances in the difference of large
        # numbers: its middle becomes the origin. Any other is left where it is, and its codes are taming's.
        weight, middle = self.embedding.weight, self.embedding.weight.mean(0)
        far = middle.square().sum() > (weight - middle).square().sum(1).mean()
        origin = torch.where(far, middle, 0)
        cells, weight = cells - origin, weight - origin
        distance = (cells**2).sum(1, keepdim=True) + (weight**2).sum(1) - 2 * torch.einsum("bd,dn->bn", cells, weight.T)
        return -distance.view(count, height, width, -1).permute(0, 3, 1, 2)

    @property
    def weight(self) -> Tensor:
        return self.embedding.weight


class VQGAN(nn.Module):
    """Images in [-1, 1], shape (n, 3, H, W), to code grids (n, H/f, W/f) and back."""

    def __init__(self, config: VQGANConfig):
        super().__init__()
        self.config = config
        with contextlib.redirect_stdout(io.StringIO()):  # taming's decoder announces itself
            self.encoder = Encoder(**config.taming())
            self.decoder = Decoder(**config.taming())
        gumbel = config.quantiser == "gumbel"
        self.quantize = GumbelCodebook(config) if gumbel else NearestCodebook(config)
        # taming's Gumbel projection reads z_channels; its quant_conv gives embed_dim. The published models and ours
        # have both equal, and the strict loader refuses others.
        self.quant_conv = nn.Conv2d(config.z_channels, config.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)

    @property
    def codebook(self) -> Tensor:
        """The embedding of each code, shape (K, embed_dim)."""
        return self.quantize.weight

    @property
    def device(self) -> torch.device:
        """Where the model computes; images and codes may come from elsewhere."""
        return self.codebook.device

    def latents(self, images: Tensor) -> Tensor:
        """The encoder's output before quantisation, shape (n, embed_dim, h, w)."""
        return self.quant_conv(self.encoder(F.pixel_unshuffle(images.to(self.device), self.config.patch)))

    def encode_logits(self, images: Tensor) -> Tensor:
        """Logits over the codes of every cell, shape (n, K, h, w); for `nearest` negative squared distances."""
        return self.quantize.logits(self.latents(images))

    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Codes (n, h, w) int64: the argmax, or with a generator a draw from softmax(logits) (Gumbel-max trick)."""
        if generator is not None and self.config.quantiser != "gumbel":
            raise ValueError("only a gumbel quantiser is sampled; this model's quantiser is nearest")
        return pick(self.encode_logits(images), generator)

    def decode_latents(self, quantised: Tensor) -> Tensor:
        """Images (n, 3, H, W) from quantised latents (n, embed_dim, h, w); not clipped."""
        return F.pixel_shuffle(self.decoder(self.post_quant_conv(quantised)), self.config.patch)

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Images (n, 3, H, W) in about [-1, 1] from code grids (n, h, w)."""
        return self.decode_latents(self.codebook[codes.to(self.device, torch.long)].permute(0, 3, 1, 2))

    def to_metadata(self) -> dict:
        """The configuration as plain values, for a file's metadata."""
        return asdict(self.config)


def load(path: Path) -> VQGAN:
    """Load a VQ-GAN in evaluation mode; every key and shape is checked."""
    return weights.load_into(path, VQGAN(VQGANConfig(**weights.read_config(path))))


@torch.inference_mode()
def decode(vqgan: VQGAN, codes: np.ndarray, batch: int = 64) -> np.ndarray:
    """Pictures (n, H, W, 3) uint8 of code grids (n, h, w), batch by batch."""
    grids = torch.from_numpy(np.asarray(codes).astype(np.int64))
    return np.concatenate([to_uint8(vqgan.decode_codes(part)) for part in grids.split(batch)])
