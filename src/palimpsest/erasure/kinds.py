"""The two kinds of concepts: of the scenes, and of a published model; what they ask for, and what is cut of it."""

import numpy as np
import pandas as pd

from palimpsest.models.text_diffusion import TextDiffusion
from palimpsest.models.words import unknown_words, unreadable_words
from palimpsest.run import UserError
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


def check_words(model: TextDiffusion, concept: Concept | Named) -> list[str]:
    """The concept's words that the tokenizer knows in pieces only.

    Raises UserError for one that it cannot read at all: the model would be asked for nothing.
    """
    naming = sorted(word for words in concept.naming for word in words.split())
    if unreadable := unreadable_words(model.tokenizer, naming):
        raise UserError(
            f"concept {concept.name}: the tokenizer of {model.folder} does not know {', '.join(unreadable)}. Name the "
            "concept by words of the model"
        )
    return unknown_words(model.tokenizer, " ".join(naming))


def cut_of(model: TextDiffusion, concept: Concept | Named, rows: pd.DataFrame) -> int:
    """How many prompts the text encoder does not see to their end, which is said."""
    cut = model.cut(list(rows["prompt"]))
    if cut:
        print(
            f"concept {concept.name}: {len(cut)} of {len(rows)} prompts have more than "
            f"{model.tokenizer.model_max_length} tokens and are cut off, the first: {cut[0]}"
        )
    return len(cut)
