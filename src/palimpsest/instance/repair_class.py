"""Make a conditional model forget what it draws wrong, by low-rank adapters; and measure what else changed.

The paper's conditional case (its figure 8), where it shows pictures only: here the rate of the wrong mode is counted.
"""

from importlib import import_module

import numpy as np
import pandas as pd
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save_file

from palimpsest.instance.engine import NotFinite, keep_steps, unlearn
from palimpsest.instance.faulty_class import PANEL, Fault, Samples, rates
from palimpsest.instance.surrogates.context import check
from palimpsest.judges import networks
from palimpsest.metrics.measurements import row, write
from palimpsest.models import diffusion
from palimpsest.models.pixels import to_tensor
from palimpsest.run import Input, Output, UserError, seed_everything, step, torch_device

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
    *,
    model: str,
    method: str,
    fault: dict,
    params: dict,
    training: dict,
    settings: dict,
    rank: int,
    seeds: list[int],
    device: str = "auto",
) -> dict:
    """Train adapters of a rank once per seed; adapter: their weights, `<seed>.<name>`.

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
        frozen = diffusion.NoisePredictor(diffusion.load(network, place)[0], faulty.label)
        seed_everything(seed)
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=ADAPTED)
        student = diffusion.NoisePredictor(inject_adapter_in_model(config, unet), faulty.label)
        try:
            steps = unlearn(
                import_module(f"palimpsest.instance.methods.{method}"),
                student,
                frozen,
                scheduler.alphas_cumprod.to(place),
                remember,
                targets,
                stand_ins,
                remember[:1],
                settings=settings,
                seed=seed,
                autocast=place.type == "cuda",
                **training,
            )
        except NotFinite as error:
            kept = keep_steps(log, error)
            raise UserError(f"method {method}, seed {seed}: {error}. The steps are in {kept}.") from error
        except (TypeError, ValueError) as error:
            raise UserError(f"method {method} with {settings} and {training}: {error}") from error
        logs.append(pd.DataFrame(steps).assign(seed=seed))
        state = get_peft_model_state_dict(unet)
        weights |= {f"{seed}.{name}": tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        after = Samples.draw(unet, scheduler, faulty, len(before.own), len(before.others), params["sampling_steps"], 0)
        found = [*rates(reader, after, before, faulty), row("steps", len(steps))]
        rows += [{**one, "seed": seed} for one in found]
        panels |= {f"{seed}.own": after.own[before.shown], f"{seed}.others": after.others[:PANEL]}
    save_file(weights, adapter)
    np.savez(panel, **panels)
    pd.concat(logs, ignore_index=True).to_parquet(log, index=False)
    write(measurements, rows, family="instance", model=model, method=method, study="faulty_class")
    return {"parameters": sum(tensor.numel() for tensor in weights.values()) // len(seeds)}


if __name__ == "__main__":
    step(repair)
