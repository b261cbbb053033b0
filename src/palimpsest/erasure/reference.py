"""The prompts that edited models are judged by, and what the base draws for them, from the same noise."""

import numpy as np
import pandas as pd

from palimpsest.erasure.judging import drawn
from palimpsest.models import text_diffusion
from palimpsest.options import Count
from palimpsest.run import Input, Output, step, torch_device
from palimpsest.worlds.concepts import Concept, judging_prompts


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

    concepts: factor, value and anchor by name; counts: prompts of each role; sampling: `steps`, `guidance`.
    """
    model = text_diffusion.open_model(network, torch_device(device))
    table = pd.concat([judging_prompts(Concept(name, **row), counts, seed) for name, row in concepts.items()])
    np.savez(pictures, **{name: drawn(model, rows, sampling, seed) for name, rows in table.groupby("concept")})
    table.to_parquet(prompts, index=False)
    return {"prompts": len(table)}


if __name__ == "__main__":
    step(reference)
