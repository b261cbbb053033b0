"""What Stable Diffusion 3 draws before and after forgetting, from the same noise: of the prompt, and of others.

The paper shows pictures of this case and no number (its figure 8). Counted here: samples of the prompt that are like a
target by the descriptor, and how the samples of the prompt and of others changed.
"""

import numpy as np
from safetensors.torch import load_file

from palimpsest.instance.judging import load_judges
from palimpsest.instance.published import LIMIT
from palimpsest.judges.batches import in_batches
from palimpsest.metrics.measurements import mean_of, share_of, write
from palimpsest.metrics.similarity import ssim
from palimpsest.models import stable_diffusion_3 as sd3
from palimpsest.options import Count
from palimpsest.run import Input, Output, step, torch_device

PANEL = 8


def evaluate(
    pipeline: Input,
    adapter: Input,
    embeddings: Input,
    target_images: Input,
    judges: list[Input],
    measurements: Output,
    panel: Output,
    *,
    model: str,
    case: str,
    modules: dict,
    sampling: dict,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """sampling: `samples` of each prompt, `steps`, `guidance`. panel: `<before|after>.<own|kept>` pictures."""
    targets, judge = np.load(target_images), load_judges(modules, judges)
    with np.load(embeddings) as file:
        own = {name: file[name] for name in sd3.EMBEDDINGS}
        count = sum(name.endswith(".prompt") for name in file.files)
        kept = [{name: file[f"{number}.{name}"] for name in sd3.EMBEDDINGS} for number in range(count)]
    drawing = sd3.open_pipeline(pipeline, torch_device(device), texts=False)
    settings = {name: sampling[name] for name in ("steps", "guidance")}

    def drawn(texts: dict) -> np.ndarray:
        # Not the seed of what is remembered.
        indices, size = np.arange(sampling["samples"]), targets.shape[1:3]
        return sd3.decode(drawing, sd3.latents_of(drawing, texts, indices, size, seed=seed + 1, **settings))

    def all_drawn() -> dict[str, np.ndarray]:
        return {"own": drawn(own), "kept": np.concatenate([drawn(texts) for texts in kept])}

    before = all_drawn()
    drawing.transformer.load_lora_adapter(load_file(adapter), prefix="transformer")
    after = all_drawn()
    embed = judge["descriptor"].embed
    known, rows = in_batches(embed, targets), []
    for method, pictures in (("pretrained", before), ("unpromptable", after)):
        alike = (in_batches(embed, pictures["own"]) @ known.T).max(1)
        found = [
            mean_of("similarity_target", alike),
            share_of("samples_like_target", alike > LIMIT),
        ]
        for kind in before:
            pair = (before[kind], pictures[kind])
            found.append(mean_of("perceptual", in_batches(judge["perceptual"].distance, *pair), kind=kind))
            found.append(mean_of("ssim", ssim(*pair), kind=kind))
        rows += [{**one, "method": method} for one in found]
    write(measurements, rows, family="instance", model=model, study="prompted", setting=case, seed=seed)
    # Of every prompt some.
    np.savez(
        panel,
        **{
            f"{when}.{kind}": each[:: max(1, len(each) // PANEL)][:PANEL]
            for when, drawn_then in (("before", before), ("after", after))
            for kind, each in drawn_then.items()
        },
    )
    return {"samples": len(after["own"]), "kept": len(after["kept"])}


if __name__ == "__main__":
    step(evaluate)
