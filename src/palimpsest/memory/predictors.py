"""The models of this package as `memory.ddim.Predict`: conditions and guidance are closed over, chosen by row.

A precision is that of the network alone: what it predicts comes back in that of the latents, as all else is.
"""

from typing import Literal

import torch
from torch import Tensor

from palimpsest.memory.ddim import Predict
from palimpsest.models.diffusion import NoisePredictor, device_of
from palimpsest.models.text_diffusion import TextDiffusion, guided

Precision = Literal["float32", "bfloat16"]


def of_text(
    model: TextDiffusion,
    conditions: Tensor,
    guidance: float = 1.0,
    batch: int = 64,
    precision: Precision = "float32",
) -> Predict:
    """A text-to-image model under conditions (n, ...), token ids or embeddings, one for each picture.

    bfloat16: of the UNet, by autocast; its weights, and the text encoder, stay in float32.
    """
    network, device = model.network, device_of(model.network)
    with torch.no_grad():
        wanted = (conditions if conditions.is_floating_point() else network.embed(conditions)).to(device)
        none = network.embed(model.ids([""]))

    def read(*given: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            return network(*given).to(given[0].dtype)

    def predict(noisy: Tensor, timestep: int, rows: Tensor) -> Tensor:
        time = torch.tensor(timestep, device=device)
        parts = zip(noisy.split(batch), rows.split(batch), strict=True)
        return torch.cat([guided(read, part, time, wanted[some], none, guidance) for part, some in parts])

    return predict


def of_pixels(network: NoisePredictor, batch: int = 64) -> Predict:
    """An unconditional model of pixels."""

    def predict(noisy: Tensor, timestep: int, rows: Tensor) -> Tensor:
        time = torch.tensor(timestep, device=noisy.device)
        return torch.cat([network(part, time) for part in noisy.split(batch)])

    return predict
