"""Draw what the methods learn from with the model itself: pictures of each concept, of its anchors, and of the rest.

Everything is of prompts and of the model; no picture of the world is used, as the sources have none either.
"""

import numpy as np
import pandas as pd

from palimpsest.models import text_diffusion
from palimpsest.options import Count
from palimpsest.run import Input, Output, step, torch_device
from palimpsest.worlds.concepts import Concept, some, training_prompts, with_prompts

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

    prompts: a row each, in their order (concept, role, prompt). concepts: factor, value and anchor by name; counts:
    `concept` and `others`, how many of each; sampling: `steps`, `guidance`.
    """
    model = text_diffusion.open_model(network, torch_device(device))
    found, tables = {}, []
    for name, row in concepts.items():
        concept = Concept(name, **row)
        named, bare = training_prompts(concept, counts["concept"], seed)
        others = some(concept.others("train", np.random.default_rng((seed, 1))), counts["others"])
        for role, rows in {"concept": named, "anchor": bare, "others": with_prompts(others)}.items():
            if cut := model.cut(list(rows["prompt"])):
                print(f"concept {name}: {len(cut)} of {len(rows)} prompts are cut off, the first: {cut[0]}")
            noise = text_diffusion.noise_of(model, np.arange(len(rows)) + OTHERS_SEED * (role == "others"), seed)
            ids = model.ids(list(rows["prompt"]))
            found[f"{name}.{role}"] = text_diffusion.sample(model, ids, noise, **sampling).numpy()
            tables.append(rows[["prompt"]].assign(concept=name, role=role))
    np.savez(latents, **found)
    pd.concat(tables, ignore_index=True).to_parquet(prompts, index=False)
    return {"pictures": sum(map(len, found.values()))}


if __name__ == "__main__":
    step(draw)
