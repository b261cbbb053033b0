"""Words before a prompt: found ones, or free ones, vectors where the text encoder would look up its tokens'."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from palimpsest.models.next_scale_texts import Tokenizer, embedded, table_of, words_begin


def embed_words(
    text_encoder: nn.Module, ids: Tensor, words: Tensor, after: int = 0, known: Tensor | None = None
) -> Tensor:
    """Embeddings (n, length, width) of token ids (n, length) with free words (n, k, width) among them.

    after: how many tokens of the text stand before them. The rest moves on by k places, and what then does not fit is
    cut off. The encoder itself does all else, so that with no words this is its output for the ids. known (n, length):
    which places are then of the text, for an encoder that has to be told.
    """
    place = words_begin(text_encoder) + after

    def insert(module: nn.Module, given: tuple, found: Tensor) -> Tensor:
        return torch.cat([found[:, :place], words, found[:, place:]], 1)[:, : found.shape[1]]

    hook = table_of(text_encoder).register_forward_hook(insert)
    try:
        return embedded(text_encoder, ids, known)
    finally:
        hook.remove()


def before(ids: Tensor, words: Tensor, place: int = 1) -> Tensor:
    """Prompts (n, length) with words (k,) at the place of their first; what then does not fit is cut off."""
    return torch.cat([ids[:, :place], words.to(ids.device).expand(len(ids), -1), ids[:, place:]], 1)[:, : ids.shape[1]]


def candidates_of(tokenizer: Tokenizer, forbidden: set[str]) -> Tensor:
    """Token ids (k,) of whole words, of two letters at least, that are none of those that name a concept."""
    naming = {word for words in forbidden for word in words.lower().split()}
    found = {number: word_of(token) for token, number in tokenizer.get_vocab().items()}
    return torch.tensor(
        sorted(number for number, word in found.items() if len(word) > 1 and word.lower() not in naming)
    )


def word_of(token: str) -> str:
    """The word that a token is, "" for a part of one: CLIP marks the end of a word, T5 the start."""
    if token.endswith("</w>"):
        return token.removesuffix("</w>")
    return token.removeprefix("▁") if token.startswith("▁") else ""


def greedy_words(
    errors: Callable[[Tensor], Tensor],
    candidates: Tensor,
    count: int,
    size: int,
    promising: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """The words (count,) with the least error, found one after the other among candidates (k,).

    errors(words (m, j)) -> (m,) of so many choices of the first j words; size: how many are tried at a time;
    promising(words (j,)) -> those of the candidates that are worth a trial after these, all of them unless given.
    """
    chosen = candidates.new_empty(0)
    for _ in range(count):
        worth = candidates if promising is None else promising(chosen)
        tried = torch.cat([chosen.expand(len(worth), -1), worth[:, None]], 1)
        chosen = tried[int(torch.cat([errors(part) for part in tried.split(size)]).argmin())]
    return chosen
