"""The networks of a text-to-image pipeline, the very classes of diffusers and transformers alone.

As in `models.unet`: diffusers keeps all networks of a kind in one package, and to import one is to import all. And both
libraries import torch's compiler and its distributed tensors for what a plain text encoder never does: three seconds
of every process.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from unittest.mock import patch

import torch

from palimpsest.models.unet import PACKAGES, unopened

COMPILER = "torch._dynamo"
# What is asked of the compiler while the modules are read: decorators, and a class of masks that are compiled.
WRAPPER, WRAPPED = f"{COMPILER}._trace_wrapped_higher_order_op", "TransformGetItemToIndex"
DECORATORS = ("allow_in_graph", "assume_constant_result")


def undecorated(function: Callable | None = None, **_) -> Callable:
    """The function itself, for a decorator with or without arguments."""
    return (lambda given: given) if function is None else function


@contextmanager
def uncompiled() -> Iterator[None]:
    """Import without torch's compiler, unless it is loaded already, and as where torch has no processes to share."""
    if COMPILER in sys.modules:
        yield
        return
    stand_in, wrapper = ModuleType(COMPILER), ModuleType(WRAPPER)
    vars(stand_in).update(dict.fromkeys(DECORATORS, undecorated), __path__=[])
    setattr(wrapper, WRAPPED, None)
    sys.modules.update({COMPILER: stand_in, WRAPPER: wrapper})
    with (
        patch.object(torch, "_dynamo", stand_in, create=True),
        patch.object(torch.compiler, "disable", undecorated),
        patch.object(torch.distributed, "is_available", lambda: False),
    ):
        try:
            yield
        finally:
            del sys.modules[COMPILER], sys.modules[WRAPPER]


with uncompiled():
    from transformers.models.clip.configuration_clip import CLIPTextConfig
    from transformers.models.clip.modeling_clip import CLIPTextModel
    from transformers.models.clip.tokenization_clip import CLIPTokenizer
    from transformers.models.t5.configuration_t5 import T5Config
    from transformers.models.t5.modeling_t5 import T5EncoderModel
    from transformers.models.t5.tokenization_t5 import T5Tokenizer

    with unopened((*PACKAGES, "diffusers.models.autoencoders", "diffusers.hooks")):
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
        from diffusers.models.autoencoders.vae import Decoder, Encoder
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

__all__ = [
    "AutoencoderKL",
    "CLIPTextConfig",
    "CLIPTextModel",
    "CLIPTokenizer",
    "Decoder",
    "Encoder",
    "T5Config",
    "T5EncoderModel",
    "T5Tokenizer",
    "UNet2DConditionModel",
]
