"""Draw what the methods learn from with the model itself: pictures of each concept, of its anchors, and of the rest.

Everything is of prompts and of the model; no picture of the world is used, as the sources have none either.
"""

import numpy as np
import pandas as pd

from palimpsest.models import text_diffusion
from palimpsest.models.words import check_words
from palimpsest.options import Count
from palimpsest.run import Input, Output, step, torch_device
from palimpsest.worlds.kinds import learned_prompts
from palimpsest.worlds.named import concept_of

OTHERS_SEED = 1_000_000  # noise of the rest: no number of a concept's


def draw(
    network: Input,
    latents: Output,
    prompts: Output,
    *,
    concepts: dict,
    counts: dict,
    sampling: dict,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """latents: `<concept>.concept`, `<concept>.anchor` from the same noise, `<concept>.others`, each (n, c, h, w).

    prompts: a row each, in their order (concept, role, prompt, and of the concept's bare: the same without it).
    concepts: a row of the configuration by name; counts: `concept` and `others`, how many of each; sampling: `steps`,
    `guidance`. The record says how many prompts are cut off, and which words of the concepts the tokenizer spells.
    """
    model = text_diffusion.open_model(network, torch_device(device))
    found, tables, cut = {}, [], dict.fromkeys(concepts, 0)
    every = {name: concept_of(name, row) for name, row in concepts.items()}
    spelt = {name: words for name, concept in every.items() if (words := check_words(model, concept))}
    for name, concept in every.items():
        for role, rows in learned_prompts(concept, counts, seed).items():
            cut[name] += model.tell_cut(name, list(rows["prompt"]))
            noise = text_diffusion.noise_of(model, np.arange(len(rows)) + OTHERS_SEED * (role == "others"), seed)
            ids = model.ids(list(rows["prompt"]))
            found[f"{name}.{role}"] = text_diffusion.sample(model, ids, noise, **sampling).numpy()
            tables.append(rows.reindex(columns=["prompt", "bare"]).assign(concept=name, role=role))
    np.savez(latents, **found)
    pd.concat(tables, ignore_index=True).to_parquet(prompts, index=False)
    return {"pictures": sum(map(len, found.values())), "cut_prompts": cut, "spelt_words": spelt}


if __name__ == "__main__":
    step(draw)
