"""LPIPS 0.1 over AlexNet (Zhang et al. 2018): torchvision's published trunk under the heads of the package `lpips`.

The package itself is never imported, since it asks for torchvision: the trunk's five convolutions and the distance are
written out here, and the heads are read from the package's own file.
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from palimpsest.judges.published import check_range, compared_hash
from palimpsest.models.published import check_hash, read_state
from palimpsest.models.weights import check_state
from palimpsest.run import UserError, torch_device

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
# Of each convolution: channels in and out, kernel, stride, padding. Before the second and third the maps are pooled.
CONVOLUTIONS = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
POOLED = (1, 2)
# Where torchvision's AlexNet has them in `features`.
PLACES = (0, 3, 6, 8, 10)
SMALLEST = 35  # pixels per side: less leaves nothing after the pooling


class LPIPS(nn.Module):
    """Distance of two pictures: of their features' unit vectors, channels weighted by the heads, meant over places."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.ModuleList(
            nn.Conv2d(inside, outside, kernel, stride, padding)
            for inside, outside, kernel, stride, padding in CONVOLUTIONS
        )
        self.heads = nn.ModuleList(nn.Conv2d(row[1], 1, 1, bias=False) for row in CONVOLUTIONS)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Feature maps after each convolution, each place of unit length over its channels."""
        shift, scale = (images.new_tensor(values).view(1, 3, 1, 1) for values in (SHIFT, SCALE))
        found, values = [], (images - shift) / scale
        for number, convolution in enumerate(self.trunk):
            if number in POOLED:
                values = nn.functional.max_pool2d(values, 3, 2)
            values = nn.functional.relu(convolution(values))
            found.append(values / (values.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    @torch.inference_mode()
    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """LPIPS of each pair (n,) of images (n, 3, h, w) in [-1, 1], at least 35 pixels wide and high."""
        for images in (first, second):
            check_range(images)
            if min(images.shape[2:]) < SMALLEST:
                raise ValueError(f"images are {tuple(images.shape[2:])} pixels: LPIPS needs {SMALLEST} on each side")
        place = self.heads[0].weight.device
        pairs = zip(self.heads, self.maps(first.to(place)), self.maps(second.to(place)), strict=True)
        return sum(head((one - other).square()).mean((1, 2, 3)) for head, one, other in pairs)


def bundled_heads() -> Path:
    """The heads of version 0.1 in the installed package lpips, which is not imported."""
    package = find_spec("lpips")
    if package is None or package.origin is None:
        raise UserError("the package lpips is not installed: install the environment's lock")
    return Path(package.origin).parent / "weights" / "v0.1" / "alex.pth"


def load(network: Path, sha256: str | None = None) -> LPIPS:
    """The distance, on a GPU where there is one; every key and shape of trunk and heads is checked.

    network: torchvision's AlexNet, of which only `features` is used. sha256: of it, where no record beside it states
    it; without either it is not compared, since reading weights runs nothing.
    """
    if expected := sha256 or compared_hash(network):
        check_hash(network, expected, network.stem)
    judge = LPIPS()
    kept = {key: value for key, value in read_state(network).items() if key.startswith("features.")}
    fill(judge.trunk, kept, {f"features.{place}": str(number) for number, place in enumerate(PLACES)}, network)
    path = bundled_heads()
    fill(judge.heads, read_state(path), {f"lin{number}.model.1": str(number) for number in range(len(PLACES))}, path)
    return judge.eval().requires_grad_(False).to(torch_device())


def fill(layers: nn.ModuleList, state: dict[str, Tensor], names: dict[str, str], path: Path) -> None:
    """Load a state dict whose modules have other names; raises UserError where a key or shape does not fit."""
    renamed = {}
    for key, value in state.items():
        module, _, parameter = key.rpartition(".")
        renamed[f"{names.get(module, module)}.{parameter}"] = value
    check_state(renamed, layers, path)
    layers.load_state_dict(renamed)
