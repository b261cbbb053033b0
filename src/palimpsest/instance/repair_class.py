"""Make a conditional model forget what it draws wrong, by low-rank adapters; and measure what else changed.

The paper's conditional case (its figure 8), where it shows pictures only: here the rate of the wrong mode is counted.
"""

import numpy as np
import pandas as pd
import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save_file

from palimpsest.instance.faulty_class import PANEL, Fault, Samples, rates
from palimpsest.instance.surrogates.context import check
from palimpsest.judges import networks
from palimpsest.metrics.measurements import row, write
from palimpsest.models import diffusion
from palimpsest.models.edit_table import write as list_edits
from palimpsest.models.pixels import to_tensor
from palimpsest.options import Count, Positive
from palimpsest.run import Input, Output, seed_everything, step, torch_device
from palimpsest.unlearning.context import Conditioning, Context, Examples
from palimpsest.unlearning.door import edit

# Every convolution and projection of a UNet2DModel's residual blocks.
ADAPTED = r".*\.(conv1|conv2|time_emb_proj|conv_shortcut)"


def repair(
    network: Input,
    judge: Input,
    reference: Input,
    wrong_images: Input,
    repaired_images: Input,
    adapter: Output,
    log: Output,
    panel: Output,
    measurements: Output,
    edits: Output,
    *,
    model: str,
    method: str,
    fault: dict,
    params: dict,
    training: dict,
    settings: dict,
    rank: Positive,
    seeds: list[Count],
    device: str = "auto",
) -> dict:
    """Train adapters of a rank once per seed; adapter: their weights, `<seed>.<name>`; edits: a row for each.

    wrong_images: the pictures to forget, repaired_images: their surrogates. params as in `faulty_reference`.
    """
    place, faulty, reader = torch_device(device), Fault(**fault), networks.load(judge)
    before = Samples.read(reference)
    with np.load(reference) as file:
        remember = to_tensor(file["remember"]).to(place)
    wrong, repaired = np.load(wrong_images), np.load(repaired_images)
    check(repaired, wrong, [str(number) for number in range(len(wrong))], str(repaired_images))
    targets, stand_ins = (to_tensor(each).to(place) for each in (wrong, repaired))
    rows, logs, weights, panels = [], [], {}, {}
    for seed in seeds:
        unet, scheduler = diffusion.load(network, place)
        context = Context(
            "instance",
            target=Examples(targets),
            remember=Examples(remember),
            timesteps=len(scheduler.alphas_cumprod),
            seed=seed,
            frozen=diffusion.NoisePredictor(diffusion.load(network, place)[0], faulty.label),
            alphas_cumprod=scheduler.alphas_cumprod.to(place),
            surrogate=stand_ins,
            conditioning=conditioning(unet, faulty, place),
        )
        seed_everything(seed)
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=ADAPTED)
        student = diffusion.NoisePredictor(inject_adapter_in_model(config, unet), faulty.label)
        steps = edit(
            method,
            student,
            context,
            settings=settings,
            training={**training, "autocast": place.type == "cuda"},
            beside=log,
            save=lambda path, unet=unet: save_file(adapters(unet), path),
            what=f"seed {seed}",
        )
        logs.append(pd.DataFrame(steps).assign(seed=seed))
        weights |= {f"{seed}.{name}": tensor for name, tensor in adapters(unet).items()}
        after = Samples.draw(unet, scheduler, faulty, len(before.own), len(before.others), params["sampling_steps"], 0)
        found = [*rates(reader, after, before, faulty), row("steps", len(steps))]
        rows += [{**one, "seed": seed} for one in found]
        panels |= {f"{seed}.own": after.own[before.shown], f"{seed}.others": after.others[:PANEL]}
    save_file(weights, adapter)
    np.savez(panel, **panels)
    pd.concat(logs, ignore_index=True).to_parquet(log, index=False)
    write(measurements, rows, family="instance", model=model, method=method, study="faulty_class")
    listed = [{"seed": seed, "path": adapter} for seed in seeds]
    base = {"base": model, "base_path": network, "family": "instance", "method": method, "format": "lora"}
    list_edits(edits, listed, **base, target="wrong", setting=f"rank {rank}")
    return {"parameters": sum(tensor.numel() for tensor in weights.values()) // len(seeds)}


def conditioning(unet, faulty: Fault, place: torch.device) -> Conditioning:
    """The faulty class as the concept; the last class of the model is that of no picture."""
    none = unet.config.num_class_embeds - 1
    others = [label for label in range(none) if label != faulty.label]
    return Conditioning(*(torch.tensor(each, device=place) for each in ([faulty.label], none, others)))


def adapters(unet) -> dict[str, torch.Tensor]:
    """The adapters of a network by name."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in get_peft_model_state_dict(unet).items()}


if __name__ == "__main__":
    step(repair)
