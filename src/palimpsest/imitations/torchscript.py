"""Judges with random weights as TorchScript: SSCD's ResNet-50 and FID's Inception, of the true shapes."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ResNetConfig, ResNetModel


class Descriptor(nn.Module):
    """SSCD (Pizzi et al. 2022): a ResNet-50, pooled by its third power mean, and a linear layer to 512 values."""

    def __init__(self):
        super().__init__()
        self.trunk = ResNetModel(ResNetConfig(return_dict=False))  # the default is ResNet-50
        self.layer = nn.Linear(2048, 512)

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.trunk(images)[0].clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)
        return self.layer(pooled)


class Convolution(nn.Sequential):
    """Convolution, normalisation, rectifier."""

    def __init__(self, inside: int, outside: int, kernel, stride: int = 1, padding=0):
        super().__init__(
            nn.Conv2d(inside, outside, kernel, stride, padding, bias=False),
            nn.BatchNorm2d(outside, eps=1e-3),
            nn.ReLU(inplace=True),
        )


class Branches(nn.Module):
    """Modules side by side, their channels one after the other."""

    def __init__(self, *branches: nn.Module):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, values: Tensor) -> Tensor:
        return torch.cat([branch(values) for branch in self.branches], 1)


def chain(inside: int, *layers: tuple) -> nn.Sequential:
    """Convolutions one after the other; layers: (channels, kernel, stride, padding)."""
    widths = [inside, *(layer[0] for layer in layers)]
    return nn.Sequential(*(Convolution(before, *layer) for before, layer in zip(widths[:-1], layers, strict=True)))


def pooled(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(nn.AvgPool2d(3, 1, 1), Convolution(inside, outside, 1))


def narrow(inside: int, outside: int) -> nn.Module:
    """The block for maps of 35 places (Szegedy et al. 2015, figure 5)."""
    return Branches(
        Convolution(inside, 64, 1),
        chain(inside, (48, 1), (64, 5, 1, 2)),
        chain(inside, (64, 1), (96, 3, 1, 1), (96, 3, 1, 1)),
        pooled(inside, outside),
    )


def factored(inside: int, width: int) -> nn.Module:
    """The block for maps of 17 places (figure 6, n = 7)."""
    across, down = (1, 7), (7, 1)
    return Branches(
        Convolution(inside, 192, 1),
        chain(inside, (width, 1), (width, across, 1, (0, 3)), (192, down, 1, (3, 0))),
        chain(
            inside,
            (width, 1),
            (width, down, 1, (3, 0)),
            (width, across, 1, (0, 3)),
            (width, down, 1, (3, 0)),
            (192, across, 1, (0, 3)),
        ),
        pooled(inside, 192),
    )


def wide(inside: int) -> nn.Module:
    """The block for maps of 8 places (figure 7)."""

    def split(width: int) -> nn.Module:
        return Branches(Convolution(width, 384, (1, 3), 1, (0, 1)), Convolution(width, 384, (3, 1), 1, (1, 0)))

    return Branches(
        Convolution(inside, 320, 1),
        nn.Sequential(Convolution(inside, 384, 1), split(384)),
        nn.Sequential(chain(inside, (448, 1), (384, 3, 1, 1)), split(384)),
        pooled(inside, 192),
    )


class Detector(nn.Module):
    """FID's Inception with the signature of NVIDIA's translation: pictures of 0 to 255; features where asked for."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(
            chain(3, (32, 3, 2), (32, 3), (64, 3, 1, 1)),
            nn.MaxPool2d(3, 2),
            chain(64, (80, 1), (192, 3)),
            nn.MaxPool2d(3, 2),
            *(narrow(192, 32), narrow(256, 64), narrow(288, 64)),
            Branches(Convolution(288, 384, 3, 2), chain(288, (64, 1), (96, 3, 1, 1), (96, 3, 2)), nn.MaxPool2d(3, 2)),
            *(factored(768, width) for width in (128, 160, 160, 192)),
            Branches(
                chain(768, (192, 1), (320, 3, 2)),
                chain(768, (192, 1), (192, (1, 7), 1, (0, 3)), (192, (7, 1), 1, (3, 0)), (192, 3, 2)),
                nn.MaxPool2d(3, 2),
            ),
            *(wide(1280), wide(2048)),
        )
        self.output = nn.Linear(2048, 1008)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)  # else the features of a deep random network vanish

    def forward(self, images: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        pixels = F.interpolate(images.to(torch.float32), [299, 299], mode="bilinear", align_corners=False)
        features = self.trunk((pixels - 128) / 128).mean([2, 3])
        return features if return_features else self.output(features)


def descriptor() -> torch.jit.ScriptModule:
    # transformers' network cannot be scripted; traced, it takes pictures of every size all the same.
    return torch.jit.trace(Descriptor().eval(), torch.zeros(1, 3, 288, 288), check_trace=False)


def detector() -> torch.jit.ScriptModule:
    return torch.jit.script(Detector().eval())


ARCHITECTURES = {"sscd": descriptor, "inception": detector}


@torch.no_grad()
def imitate(folder: Path, files: list[str], name: str) -> None:
    """Write the one file of the published judge of this name."""
    ARCHITECTURES[name]().save(folder / files[0])
