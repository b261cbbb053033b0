"""Make a conditional model forget what it draws wrong, by low-rank adapters; and measure what else changed.

The paper's conditional case (its figure 8), where it shows pictures only: here the rate of the wrong mode is counted.
"""

import json

import numpy as np
import pandas as pd
import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import save_file

from palimpsest.instance.faulty_class import PANEL, Fault, Looks, Samples, rates
from palimpsest.instance.surrogates.context import check
from palimpsest.judges import networks
from palimpsest.metrics.measurements import row, write
from palimpsest.models import diffusion
from palimpsest.models.adapters import weights_of
from palimpsest.models.edit_table import write as list_edits
from palimpsest.models.pixels import to_tensor
from palimpsest.options import Positive
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
    weights: Output,
    log: Output,
    panel: Output,
    measurements: Output,
    edits: Output,
    *,
    model: str,
    method: str,
    fault: dict,
    params: dict,
    rank: Positive,
    plan: dict,
    selected: Input | None = None,
    device: str = "auto",
) -> dict:
    """Train adapters of a rank in every run of the plan; weights: a folder with a file for each; edits: a row for each.

    wrong_images: the pictures to forget, repaired_images: their surrogates. params as in `faulty_reference`. plan:
    {"runs": [{"setting", "seed", "tuned", "training", "settings"}, ...]}; selected: what the tuning chose, which takes
    the place of a tuned run's.
    """
    place, faulty, reader = torch_device(device), Fault(**fault), networks.load(judge)
    before, looks = Samples.read(reference), Looks.read(reference)
    with np.load(reference) as file:
        remember = to_tensor(file["remember"]).to(place)
    wrong, repaired = np.load(wrong_images), np.load(repaired_images)
    check(repaired, wrong, [str(number) for number in range(len(wrong))], str(repaired_images))
    targets, stand_ins = (to_tensor(each).to(place) for each in (wrong, repaired))
    chosen = json.loads(selected.read_text(encoding="utf-8")) if selected else {}
    rows, logs, listed, panels = [], [], [], {}
    weights.mkdir(parents=True)
    for run in plan["runs"]:
        unet, scheduler = diffusion.load(network, place)
        context = Context(
            "instance",
            target=Examples(targets),
            remember=Examples(remember),
            timesteps=len(scheduler.alphas_cumprod),
            seed=run["seed"],
            frozen=diffusion.NoisePredictor(*diffusion.load(network, place), faulty.label),
            alphas_cumprod=scheduler.alphas_cumprod.to(place),
            surrogate=stand_ins,
            conditioning=conditioning(unet, faulty, place),
        )
        seed_everything(run["seed"])
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=ADAPTED)
        student = diffusion.NoisePredictor(inject_adapter_in_model(config, unet), scheduler, faulty.label)
        found = chosen if run["tuned"] else {}
        settings, training = ({**run[key], **found.get(key, {})} for key in ("settings", "training"))
        labels = {key: run[key] for key in ("setting", "seed")}
        steps = edit(
            method,
            student,
            context,
            settings=settings,
            training={**training, "autocast": place.type == "cuda"},
            beside=log,
            save=lambda path, unet=unet: save_file(weights_of(unet), path),
            what=f"{labels}",
        )
        name = f"{run['setting']}.{run['seed']}"
        save_file(weights_of(unet), weights / f"{name}.safetensors")
        listed.append({"path": weights / f"{name}.safetensors", **labels})
        logs.append(pd.DataFrame(steps).assign(**labels))
        sizes = len(before.own), len(before.others), params["sampling_steps"], before.seed
        after = Samples.draw(unet, scheduler, faulty, *sizes)
        measured = [*rates(reader, after, before, faulty, looks), row("steps", len(steps), n=1)]
        rows += [{**one, **labels} for one in measured]
        panels |= {f"{name}.own": after.own[before.shown], f"{name}.others": after.others[:PANEL]}
    np.savez(panel, **panels)
    pd.concat(logs, ignore_index=True).to_parquet(log, index=False)
    write(measurements, rows, family="instance", model=model, method=method, study="faulty_class")
    base = {"base": model, "base_path": network, "family": "instance", "method": method, "format": "lora"}
    list_edits(edits, listed, **base, target="wrong")
    return {"parameters": sum(tensor.numel() for tensor in weights_of(unet).values())}


def conditioning(unet, faulty: Fault, place: torch.device) -> Conditioning:
    """The faulty class as the concept; the last class of the model is that of no picture."""
    none = unet.config.num_class_embeds - 1
    others = [label for label in range(none) if label != faulty.label]
    return Conditioning(*(torch.tensor(each, device=place) for each in ([faulty.label], none, others)))


if __name__ == "__main__":
    step(repair)
