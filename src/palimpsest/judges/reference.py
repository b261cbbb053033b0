"""The prompts that edited models are judged by, and what the base draws for them, from the same noise."""

import numpy as np
import pandas as pd

from palimpsest.judges.judging import drawing
from palimpsest.models import text_to_image
from palimpsest.models.words import check_words
from palimpsest.options import Count
from palimpsest.run import Input, Output, step, torch_device
from palimpsest.worlds.kinds import judging_prompts
from palimpsest.worlds.named import concept_of


def reference(
    network: Input,
    prompts: Output,
    pictures: Output,
    *,
    concepts: dict,
    counts: dict,
    sampling: dict,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """prompts: a row each, with its role and what it asks for; pictures: uint8, row by row, by concept.

    concepts: a row of the configuration by name; counts: prompts of each role; sampling: as the model draws. The
    record says how many prompts of each are cut off.
    """
    model = text_to_image.open_model(network, torch_device(device))
    tables, cut = [], {}
    for name, row in concepts.items():
        concept = concept_of(name, row)
        check_words(model, concept)
        tables.append(judging_prompts(concept, counts, seed))
        cut[name] = model.tell_cut(name, list(tables[-1]["prompt"]))
    table, drawn = pd.concat(tables), drawing(sampling, seed)
    np.savez(pictures, **{name: drawn(model, rows) for name, rows in table.groupby("concept")})
    table.to_parquet(prompts, index=False)
    return {"prompts": len(table), "cut_prompts": cut}


if __name__ == "__main__":
    step(reference)
