"""Make Stable Diffusion 3 forget pictures of one prompt, by low-rank adapters of its transformer's attention.

Everything that is no training is done before, once, by `prepare_sd3`. The adapter is written as diffusers'
StableDiffusion3Pipeline.load_lora_weights reads it.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from diffusers import SD3Transformer2DModel
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor, nn

from palimpsest.instance.methods import flow_matching
from palimpsest.models.adapters import weights_of
from palimpsest.models.edit_table import write as list_edits
from palimpsest.models.stable_diffusion_3 import load_transformer
from palimpsest.options import Count, Positive
from palimpsest.run import Input, Output, UserError, seed_everything, step, torch_device
from palimpsest.unlearning.context import Context, Examples
from palimpsest.unlearning.door import edit

# The projections of a joint attention block, of the picture's and of the prompt's stream.
ADAPTED = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
COUNT = 1000  # noise levels, and the factor between a level and the transformer's timestep


class VelocityPredictor(nn.Module):
    """The transformer as network(noisy, timesteps) -> velocity under one prompt; timesteps are the engine's."""

    def __init__(self, transformer: SD3Transformer2DModel, prompt: Tensor, pooled: Tensor):
        """prompt: (1, tokens, channels) and pooled (1, channels), the embeddings of both kinds."""
        super().__init__()
        self.transformer, self.prompt, self.pooled = transformer, prompt, pooled

    def forward(self, noisy: Tensor, timesteps: Tensor) -> Tensor:
        return self.transformer(
            hidden_states=noisy,
            timestep=COUNT * flow_matching.noise_levels(timesteps, COUNT),
            encoder_hidden_states=self.prompt.expand(len(noisy), -1, -1),
            pooled_projections=self.pooled.expand(len(noisy), -1),
            return_dict=False,
        )[0]


def unlearn_sd3(
    pipeline: Input,
    latents: Input,
    embeddings: Input,
    adapter: Output,
    log: Output,
    edits: Output,
    *,
    model: str,
    case: str,
    training: dict,
    settings: dict,
    rank: Positive = 16,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """Train adapters of a rank.

    pipeline: what `check_pipeline` wrote; latents and embeddings: what `prepare_sd3` did. training goes to the engine,
    settings to `flow_matching.direction`. log: the steps; edits: the adapter as `models.edits` opens it.
    """
    place = torch_device(device)
    pictures = {
        name: each.to(place) for name, each in arrays(latents, ("targets", "surrogates", "remember"), 4).items()
    }
    texts = arrays(embeddings, ("prompt",), 3) | arrays(embeddings, ("pooled",), 2)
    network = load_transformer(pipeline).to(place)
    seed_everything(seed)
    network.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(ADAPTED)))
    student = VelocityPredictor(network, texts["prompt"].to(place), texts["pooled"].to(place))
    context = Context(
        "instance",
        target=Examples(pictures["targets"]),
        remember=Examples(pictures["remember"]),
        timesteps=COUNT,
        seed=seed,
        surrogate=pictures["surrogates"],
    )
    steps = edit(
        "flow_matching",
        student,
        context,
        settings=settings,
        training={**training, "autocast": place.type == "cuda"},
        beside=log,
        save=lambda path: save_file(adapters(network), path),
    )
    pd.DataFrame(steps).to_parquet(log, index=False)
    state = adapters(network)
    save_file(state, adapter)
    row = {"target": case, "seed": seed, "setting": f"rank {rank}", "format": "lora", "path": adapter}
    list_edits(edits, [row], base=model, base_path=pipeline, family="instance", method="unpromptable")
    return {"parameters": sum(each.numel() for each in state.values()), "steps": len(steps)}


def adapters(network: SD3Transformer2DModel) -> dict[str, Tensor]:
    """The adapters by name, as diffusers' pipeline reads them."""
    return {f"transformer.{name}": each for name, each in weights_of(network).items()}


def arrays(path: Path, names: tuple[str, ...], dimensions: int) -> dict[str, Tensor]:
    """Arrays of a file as float32; raises UserError for one that is missing or has another number of dimensions."""
    with np.load(path) as file:
        missing = [name for name in names if name not in file]
        if missing:
            raise UserError(f"{path} has no array {', '.join(missing)}; it has {', '.join(file.files)}")
        found = {name: torch.from_numpy(file[name]).float() for name in names}
    for name, each in found.items():
        if each.ndim != dimensions or not len(each):
            raise UserError(f"{path}: {name} has the shape {tuple(each.shape)}; give {dimensions} dimensions")
    return found


if __name__ == "__main__":
    step(unlearn_sd3)
