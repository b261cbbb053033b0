"""The networks of a text-to-image pipeline, the very classes of diffusers and transformers alone.

As in `models.unet`: diffusers keeps all networks of a kind in one package, and to import one is to import all.
"""

from palimpsest.models.unet import PACKAGES, unopened

with unopened((*PACKAGES, "diffusers.models.autoencoders", "diffusers.hooks")):
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers.models.clip.configuration_clip import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModel
from transformers.models.clip.tokenization_clip import CLIPTokenizer

__all__ = ["AutoencoderKL", "CLIPTextConfig", "CLIPTextModel", "CLIPTokenizer", "UNet2DConditionModel"]
