"""Adapters of rank one in a text-to-image UNet, which semi-permeable membranes train (Lyu et al. 2024).

Every projection W of the UNet's transformer blocks becomes W + u v^T (`models.adapters` says what becomes of it).
"""

from diffusers.models.transformers.transformer_2d import Transformer2DModel
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from palimpsest.models.adapters import ADAPTER


def inject(unet: nn.Module) -> nn.Module:
    """The UNet with an adapter in each projection, in place, and nothing else to be trained.

    v is random and u zero, so that nothing has changed yet.
    """
    config = LoraConfig(r=1, lora_alpha=1, target_modules=projections(unet))
    return inject_adapter_in_model(config, unet, ADAPTER)


def projections(unet: nn.Module) -> list[str]:
    """Names of all linear layers and convolutions in transformer blocks."""
    return [
        f"{block}.{name}"
        for block, transformer in unet.named_modules()
        if isinstance(transformer, Transformer2DModel)
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
