"""What every unlearned model is compared with: the pretrained model's pictures, the data's features, the timestep.

The timestep at which a target is injected is chosen here, on the pretrained model alone, and then frozen: of those
tried, the one at which its own reconstructions are nearest to `wanted_similarity` to their pictures.
"""

import numpy as np
import pandas as pd

from palimpsest.instance.judging import described, load_judges
from palimpsest.judges.batches import in_batches
from palimpsest.metrics.distribution import Plausibility, frechet, kernel_distance
from palimpsest.metrics.measurements import mean_of, row, share_of, write
from palimpsest.models import diffusion
from palimpsest.options import Count
from palimpsest.run import Input, Output, step, torch_device


def reference(
    network: Input,
    judges: list[Input],
    data_images: Input,
    held_out_images: Input,
    target_images: Input,
    manifest: Input,
    remember: Input,
    neighbours: Input,
    reference: Output,
    curve: Output,
    measurements: Output,
    generated: Output,
    *,
    model: str,
    modules: dict,
    params: dict,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """Sample, inject and describe.

    params: `pairs` (same-seed samples for each training seed), `seeds` (how many of these), `sheet` (samples of the
    contact sheet), `sampling_steps`, `draws`, `injection_steps`, `timesteps` (those tried), `wanted_similarity`,
    `bystanders` (neighbours per target, and strangers), `bystander_draws`, `data` (pictures whose features stand for
    the data, and as many held-out ones).
    curve: similarity by timestep (target, timestep, value). generated: `pairs` more samples, which no comparison uses.
    """
    place = torch_device(device)
    unet, scheduler = diffusion.load(network, place)
    judge = load_judges(modules, judges)
    data, kept = np.load(data_images, mmap_mode="r"), np.load(remember)
    targets, near = np.load(target_images), np.load(neighbours)
    names = list(pd.read_parquet(manifest)["target"])
    rng = np.random.default_rng(seed)
    picked = np.sort(rng.choice(kept, params["bystanders"], replace=False))
    near = near[:, : params["bystanders"]]
    shown_images = np.concatenate([targets, data[picked], data[near.ravel()]])
    kinds = np.repeat(["target", "stranger", "neighbour"], [len(targets), len(picked), near.size])
    owners = np.concatenate(
        [np.arange(len(targets)), np.full(len(picked), -1), np.repeat(np.arange(len(targets)), near.shape[1])]
    )

    def inject(pictures: np.ndarray, timestep: int, draws: int) -> np.ndarray:
        settings = {"timestep": timestep, "draws": draws, "steps": params["injection_steps"], "seed": seed}
        return diffusion.injected(unet, scheduler, pictures, **settings)

    own = in_batches(judge["descriptor"].embed, targets)
    tried = []
    for timestep in params["timesteps"]:
        rebuilt = inject(targets, timestep, params["bystander_draws"])
        tried.append((described(judge["descriptor"].embed, rebuilt) * own[:, None]).sum(2).mean(1))
    chosen = int(np.argmin([abs(values.mean() - params["wanted_similarity"]) for values in tried]))
    timestep = params["timesteps"][chosen]
    many, few = params["draws"], params["bystander_draws"]
    injected = np.zeros((len(shown_images), many, *targets.shape[1:]), np.uint8)
    for rows, draws in ((kinds == "target", many), (kinds != "target", few)):
        injected[rows, :draws] = inject(shown_images[rows], timestep, draws)

    count = params["pairs"]

    def drawn(first: int, number: int) -> np.ndarray:
        indices = np.arange(first, first + number)
        return diffusion.sample(unet, scheduler, indices, steps=params["sampling_steps"], seed=seed)

    samples = drawn(0, count * params["seeds"])
    others = drawn(len(samples), count)
    np.save(generated, others)
    sheet = diffusion.sample(
        unet, scheduler, np.arange(params["sheet"]), steps=params["injection_steps"], seed=seed + 1
    )
    held_out = np.load(held_out_images, mmap_mode="r")
    sources = {
        "samples": samples,
        "others": others,
        "data": data[kept[rng.permutation(len(kept))[: params["data"]]]],
        "held_out": held_out[: params["data"]],
    }
    features = {name: in_batches(judge["features"].features, pictures) for name, pictures in sources.items()}
    looks = {name: in_batches(judge["features"].appearance, sources[name]) for name in ("data", "held_out")}
    np.savez(
        reference,
        samples=samples,
        sheet=sheet,
        injected_images=shown_images,
        injected=injected,
        kinds=kinds,
        owners=owners,
        timestep=timestep,
        features=features["samples"],
        data=features["data"],
        appearance=looks["data"],
        held_out=looks["held_out"],
    )
    lines = [
        (name, t, v)
        for t, values in zip(params["timesteps"], tried, strict=True)
        for name, v in zip(names, values, strict=True)
    ]
    pd.DataFrame(lines, columns=["target", "timestep", "value"]).to_parquet(curve, index=False)
    plausibility = Plausibility(looks["data"], looks["held_out"])
    rows = [
        row("injection_timestep", timestep),
        mean_of("injection_similarity", tried[chosen]),
        share_of("plausible_data", plausibility.plausible(looks["held_out"])),
        # The floors: what equal sources read, with as many pictures as every comparison has.
        row("frechet_floor", frechet(features["data"][:count], features["held_out"][:count]), n=count),
        row("frechet_seeds", frechet(features["samples"][:count], features["others"]), n=count),
        row("kernel_floor", kernel_distance(features["data"], features["held_out"]), n=params["data"]),
        row("kernel_seeds", kernel_distance(features["samples"][:count], features["others"]), n=count),
    ]
    rows += [
        row("injection_curve", values.mean(), n=len(values), timestep=t)
        for t, values in zip(params["timesteps"], tried, strict=True)
    ]
    write(measurements, rows, family="instance", model=model, method="pretrained", seed=seed)
    return {"timestep": params["timesteps"][chosen], "similarity": float(tried[chosen].mean())}


if __name__ == "__main__":
    step(reference)
