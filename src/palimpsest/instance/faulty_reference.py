"""The conditional model before unlearning: its samples, how often it is wrong, and good pictures of its own."""

import numpy as np
import pandas as pd
import torch

from palimpsest.instance.faulty_class import Fault, Looks, Samples, data_rates, rates, wrong_first
from palimpsest.judges import networks
from palimpsest.judges.batches import in_batches
from palimpsest.metrics.measurements import write
from palimpsest.models import diffusion
from palimpsest.options import Count
from palimpsest.run import Input, Output, step, torch_device


def reference(
    network: Input,
    judge: Input,
    data_images: Input,
    data_manifest: Input,
    held_out_images: Input,
    held_out_manifest: Input,
    samples: Output,
    measurements: Output,
    *,
    model: str,
    fault: dict,
    params: dict,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """params: `samples` of the class, `others`, `sampling_steps`, `remember` (good pictures of the class).

    data: what the model learned from; held_out: other pictures. samples: `own`, `others`, `labels` and `remember`,
    pictures as uint8; `shown`: which of the own figures show; and how data looks, as `Looks` has it.
    """
    unet, scheduler = diffusion.load(network, torch_device(device))
    reader, faulty = networks.load(judge), Fault(**fault)
    drawn = Samples.draw(unet, scheduler, faulty, params["samples"], params["others"], params["sampling_steps"], seed)
    wanted = params["remember"]
    candidates = diffusion.sample(
        unet,
        scheduler,
        np.arange(2 * wanted),
        steps=params["sampling_steps"],
        seed=seed + 1,
        labels=torch.full((2 * wanted,), faulty.label),
    )
    rightness = in_batches(
        lambda part: (
            reader(part)[faulty.symbol_factor].log_softmax(1)[:, faulty.right]
            + reader(part)[faulty.class_factor].log_softmax(1)[:, faulty.label]
        ),
        candidates,
    )
    looks = Looks(
        *(
            part
            for images, manifest in ((data_images, data_manifest), (held_out_images, held_out_manifest))
            for part in (
                in_batches(reader.appearance, np.load(images)),
                pd.read_parquet(manifest, columns=[faulty.class_factor])[faulty.class_factor].to_numpy(),
            )
        )
    )
    # As a person would choose them: of twice as many, those that look like data and show the right symbol most clearly.
    broken = ~looks.plausible(reader, candidates, np.full(len(candidates), faulty.label))
    good = np.sort(np.lexsort((-rightness, broken))[:wanted])
    np.savez(
        samples,
        own=drawn.own,
        others=drawn.others,
        labels=drawn.labels,
        shown=wrong_first(reader, drawn.own, faulty, looks),
        remember=candidates[good],
        seed=seed,
        **vars(looks),
    )
    rows = [{**one, "method": "pretrained"} for one in rates(reader, drawn, drawn, faulty, looks)]
    held_out = np.load(held_out_images)[looks.held_out_labels == faulty.label]
    rows += [{**one, "method": "data"} for one in data_rates(reader, held_out, faulty, looks)]
    write(measurements, rows, family="instance", model=model, study="faulty_class", seed=seed)
    return {"wrong_rate": rows[0]["value"]}


if __name__ == "__main__":
    step(reference)
