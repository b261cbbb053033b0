"""A tokenizer of CLIP's kind that knows a few words, each of them one token; other words are spelt."""

import json
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.trainers import BpeTrainer
from torch import Tensor

from palimpsest.models.latent_networks import CLIPTokenizer
from palimpsest.run import UserError

START, END = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"
SIGNS = (*string.ascii_lowercase, *string.digits, ",", ".", "-", "'")


def tokenizer_of(words: Iterable[str], length: int) -> CLIPTokenizer:
    """The tokenizer, which pads and cuts to `length` tokens.

    Byte-pair merges are learned from the words until each is one token, and the same merges make it one again.
    """
    learned = Tokenizer(BPE())
    learned.pre_tokenizer = WhitespaceSplit()
    trainer = BpeTrainer(
        vocab_size=100_000,
        min_frequency=1,
        end_of_word_suffix=END_OF_WORD,
        special_tokens=[*SIGNS, *(sign + END_OF_WORD for sign in SIGNS)],
        show_progress=False,
    )
    learned.train_from_iterator(sorted(set(words)), trainer)
    model = json.loads(learned.to_str())["model"]
    tokens = [*sorted(model["vocab"], key=model["vocab"].get), START, END]
    merges = [tuple(pair) for pair in model["merges"]]
    return CLIPTokenizer(vocab={token: n for n, token in enumerate(tokens)}, merges=merges, model_max_length=length)


def unreadable_words(tokenizer: CLIPTokenizer, words: Iterable[str]) -> list[str]:
    """The words of which the tokenizer cannot even spell a letter: what it reads instead is the end of the text."""
    unknown = tokenizer.unk_token_id
    return [word for word in words if unknown in tokenizer(word, add_special_tokens=False)["input_ids"]]


def unknown_words(tokenizer: CLIPTokenizer, text: str) -> list[str]:
    """The words of a text that the tokenizer has to spell: no single token stands for them."""
    return [word for word in text.replace(",", " ").split() if len(tokenizer.tokenize(word)) != 1]


class Speaking(Protocol):
    """A model that takes texts, from a folder; without a tokenizer it takes classes, which are no words."""

    tokenizer: CLIPTokenizer | None
    folder: Path

    def ids(self, prompts: Sequence[str]) -> Tensor:
        """Token ids (n, length) of prompts."""


class Naming(Protocol):
    """A concept, and what names it."""

    name: str
    naming: set[str]


def check_words(model: Speaking, concept: Naming) -> list[str]:
    """The concept's words that the tokenizer knows in pieces only.

    Raises UserError for one that it cannot read at all: the model would be asked for nothing.
    """
    if model.tokenizer is None:
        return []
    naming = sorted(word for words in concept.naming for word in words.split())
    if unreadable := unreadable_words(model.tokenizer, naming):
        raise UserError(
            f"concept {concept.name}: the tokenizer of {model.folder} does not know {', '.join(unreadable)}. Name the "
            "concept by words of the model"
        )
    return unknown_words(model.tokenizer, " ".join(naming))


def named_tokens(model: Speaking, prompts: list[str], words: list[list[str]]) -> Tensor:
    """Which tokens (n, length) of each prompt are those of its words; no length of words is cut. Of classes (n, 0)."""
    if model.tokenizer is None:
        return torch.zeros(len(prompts), 0, dtype=torch.bool)
    ids, found = model.ids(prompts), torch.zeros(len(prompts), model.tokenizer.model_max_length, dtype=torch.bool)
    for place, some in enumerate(words):
        for word in some:
            pieces = model.tokenizer(word, add_special_tokens=False)["input_ids"]
            windows = ids[place].cpu().unfold(0, len(pieces), 1)
            for start in (windows == torch.tensor(pieces)).all(1).nonzero()[:, 0].tolist():
                found[place, start : start + len(pieces)] = True
    return found.to(ids.device)
