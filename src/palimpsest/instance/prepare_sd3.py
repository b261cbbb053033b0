"""What forgetting in Stable Diffusion 3 needs, encoded once: latents of pictures, embeddings of prompts.

What is remembered are pictures that the model itself draws under the same prompt (Lee et al. 2026, section 5).
"""

import numpy as np

from palimpsest.instance.surrogates.context import check
from palimpsest.models import stable_diffusion_3 as sd3
from palimpsest.options import Count
from palimpsest.run import Input, Output, step, torch_device


def prepare(
    pipeline: Input,
    target_images: Input,
    surrogate_images: Input,
    latents: Output,
    embeddings: Output,
    *,
    prompt: str,
    kept: list[str],
    sampling: dict,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """latents: an .npz of `targets`, `surrogates` and `remember` (n, c, h, w); embeddings: an .npz of each embedding of
    the prompt, by name, and of those prompts whose pictures should stay, `<number>.<name>`.

    pipeline: what `check_pipeline` wrote. sampling: `remember` (how many pictures), `steps`, `guidance`.
    Raises UserError for a surrogate of another number or size, or one that is its target.
    """
    wanted, stand_ins = np.load(target_images), np.load(surrogate_images)
    check(stand_ins, wanted, [str(number) for number in range(len(wanted))], str(surrogate_images))
    model = sd3.open_pipeline(pipeline, torch_device(device))
    texts = sd3.embeddings_of(model, prompt)
    others = [sd3.embeddings_of(model, one) for one in kept]
    settings = {name: sampling[name] for name in ("steps", "guidance")}
    remember = sd3.latents_of(model, texts, np.arange(sampling["remember"]), wanted.shape[1:3], seed=seed, **settings)
    np.savez(
        latents,
        targets=sd3.encode(model, wanted).numpy(),
        surrogates=sd3.encode(model, stand_ins).numpy(),
        remember=remember.numpy(),
    )
    numbered = {f"{number}.{name}": each for number, one in enumerate(others) for name, each in one.items()}
    np.savez(embeddings, **texts, **numbered)
    return {"targets": len(wanted), "remember": len(remember)}


if __name__ == "__main__":
    step(prepare)
