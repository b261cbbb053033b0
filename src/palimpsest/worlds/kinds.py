"""The two kinds of concepts, of the scenes and of a published model, and the prompts that ask for them."""

import numpy as np
import pandas as pd

from palimpsest.worlds import concepts, named
from palimpsest.worlds.concepts import Concept
from palimpsest.worlds.named import Named


def learned_prompts(concept: Concept | Named, counts: dict[str, int], seed: int) -> dict[str, pd.DataFrame]:
    """What an edit learns from, by role: `concept`, row by row the same with its `anchor`, and `others`.

    Rows of the concept have the column `bare`: the same prompt without it.
    """
    if isinstance(concept, Named):
        return named.learned_prompts(concept, counts)
    with_it, without = concepts.training_prompts(concept, counts["concept"], seed)
    others = concepts.some(concept.others("train", np.random.default_rng((seed, 1))), counts["others"])
    return {"concept": with_it, "anchor": without, "others": concepts.with_prompts(others)}


def judging_prompts(concept: Concept | Named, counts: dict[str, int], seed: int) -> pd.DataFrame:
    """The prompts that edited models are judged by."""
    if isinstance(concept, Named):
        return named.judging_prompts(concept, counts)
    return concepts.judging_prompts(concept, counts, seed)
