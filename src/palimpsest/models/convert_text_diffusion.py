"""A published text-to-image model in the layout of Stable Diffusion 1.x, converted once to this package's, strictly.

The Hub's folder: model_index.json and a folder per part. The text encoder's names may have `text_model.` before them,
and the autoencoder's attention its old names (query, key, value, proj_attn); both are changed to those of today's
classes. The safety checker is left out: the censor of this package looks at every explicit picture that is shown.
"""

from pathlib import Path

import torch

from palimpsest.models import text_diffusion
from palimpsest.models.diffusion import WEIGHTS, scheduler_of
from palimpsest.models.hub_folder import compared
from palimpsest.models.latent_networks import (
    AutoencoderKL,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    UNet2DConditionModel,
)
from palimpsest.models.published import read_state
from palimpsest.models.text_diffusion import NETWORKS, TEXT_WEIGHTS, Conditioned, TextDiffusion
from palimpsest.models.unet import DDIMScheduler
from palimpsest.models.weights import check_state
from palimpsest.run import Input, Output, UserError, step

FILES = {"unet": WEIGHTS, "vae": WEIGHTS, "text_encoder": TEXT_WEIGHTS}
# What the published names stand for: the width of the texts that the UNet takes.
PUBLISHED = {"stable_diffusion_1_4": 768}


def convert(index: Input, network: Output, *, name: str, sha256: dict, source: str = "", revision: str = "") -> dict:
    """Compare the weights with their hashes, load them with every key and shape checked, and write them in our layout.

    index: the folder's model_index.json; sha256: of each file, by its path in the folder; weights need one. source and
    revision: the publisher's, for the record. Raises UserError for another model than the name stands for.
    """
    folder = index.parent
    hashes = compared(folder, sha256, name, [f"{part}/{file}" for part, file in FILES.items()], source)
    model = read_published(folder, PUBLISHED.get(name))
    text_diffusion.save(network, model)
    return {
        "sha256": hashes,
        "parameters": {part: sum(each.numel() for each in parts_of(model)[part].parameters()) for part in NETWORKS},
        "scheduler": dict(model.scheduler.config),
    }


def read_published(folder: Path, width: int | None = None) -> TextDiffusion:
    """The model of a folder; width: of the texts, where it is known what it has to be."""
    unet_config = UNet2DConditionModel.load_config(folder / "unet")
    if width and (found := unet_config.get("cross_attention_dim")) != width:
        raise UserError(
            f"{folder} takes texts of width {found}, not {width}: it is another model (Stable Diffusion 1 has 768, "
            "Stable Diffusion 2 has 1024). Give the folder that the row names"
        )
    with torch.device("meta"):  # the shapes alone: the weights are put in place, not copied
        unet = UNet2DConditionModel.from_config(unet_config)
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(folder / "vae"))
    text = CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder"))
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    text_diffusion.check_tokenizer(tokenizer, text.config, folder)
    for part, each in {"unet": unet, "vae": vae, "text_encoder": text}.items():
        path = folder / part / FILES[part]
        state = read_state(path)
        state = (
            text_diffusion.renamed_text(state) if part == "text_encoder" else each._fix_state_dict_keys_on_load(state)
        )
        check_state(state, each, path)
        if broken := [key for key, value in state.items() if not value.isfinite().all()]:
            raise UserError(f"{path} is damaged: {', '.join(broken[:5])} hold no finite numbers. Fetch it again")
        each.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
    scheduler = scheduler_of(DDIMScheduler, DDIMScheduler.load_config(folder / "scheduler"))
    return TextDiffusion(Conditioned(unet, text).eval(), vae.eval(), tokenizer, scheduler, folder)


def parts_of(model: TextDiffusion) -> dict[str, torch.nn.Module]:
    """The networks of a model by their folders."""
    return {"unet": model.network.unet, "vae": model.vae, "text_encoder": model.network.text_encoder}


if __name__ == "__main__":
    step(convert)
