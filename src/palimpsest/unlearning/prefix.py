"""Words before a prompt: found ones, or free ones, vectors where the text encoder would look up its tokens'."""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from palimpsest.models.batch_sizes import in_parts
from palimpsest.models.next_scale_texts import Tokenizer, embedded, token_embedding, words_begin

PROMPTS = 64  # that a search passes at a time at most


def embed_words(
    text_encoder: nn.Module, ids: Tensor, words: Tensor, after: int = 0, known: Tensor | None = None
) -> Tensor:
    """Embeddings (n, length, width) of token ids (n, length) with free words (n, k, width) among them.

    after: how many tokens of the text stand before them. The rest moves on by k places, and what then does not fit is
    cut off. The encoder itself does all else, so that with no words this is its output for the ids. known (n, length):
    which places are then of the text; T5 needs it.
    """
    place = words_begin(text_encoder) + after

    def insert(module: nn.Module, given: tuple, found: Tensor) -> Tensor:
        return torch.cat([found[:, :place], words, found[:, place:]], 1)[:, : found.shape[1]]

    hook = token_embedding(text_encoder).register_forward_hook(insert)
    try:
        return embedded(text_encoder, ids, known)
    finally:
        hook.remove()


def before(text_encoder: nn.Module, ids: Tensor, words: Tensor) -> Tensor:
    """Prompts (n, length) with words (k,) where their first word stood; what then does not fit is cut off."""
    place = words_begin(text_encoder)
    return torch.cat([ids[:, :place], words.to(ids.device).expand(len(ids), -1), ids[:, place:]], 1)[:, : ids.shape[1]]


def candidates_of(tokenizer: Tokenizer, forbidden: set[str]) -> Tensor:
    """Token ids (k,) of words, of two characters at least, that are none of a concept's given names.

    Of CLIP's pieces those that end a word, of T5's those that begin one, which may be the beginning of a longer one.
    """
    naming = {word for words in forbidden for word in words.lower().split()}
    found = {number: word_of(token) for token, number in tokenizer.get_vocab().items()}
    return torch.tensor(
        sorted(number for number, word in found.items() if len(word) > 1 and word.lower() not in naming)
    )


def word_of(token: str) -> str:
    """The word that a token is, "" for any other part of one: CLIP marks the end of a word, T5 the beginning."""
    if token.endswith("</w>"):
        return token.removesuffix("</w>")
    return token.removeprefix("▁") if token.startswith("▁") else ""


def most_promising(
    text_encoder: nn.Module, candidates: Tensor, losses: Callable[[Tensor], Iterable[Tensor]], count: int
) -> Tensor:
    """The candidates (count,) that lower a sum of losses most to first order, as AutoPrompt ranks (Shin et al. 2020).

    losses(word (width,)): the terms of the sum, whose slope is taken at the mean of the candidates' embeddings.
    """
    table = token_embedding(text_encoder).weight.detach()
    table = table[candidates.to(table.device)]
    word, slope = table.mean(0).requires_grad_(), 0
    for loss in losses(word):
        slope += torch.autograd.grad(loss, word)[0]
    return candidates[(table @ slope).argsort().to(candidates.device)[:count]]


def greedy_words(
    text_encoder: nn.Module,
    candidates: Tensor,
    count: int,
    errors: Callable[[Tensor], Tensor],
    losses: Callable[[Tensor, Tensor], Iterable[Tensor]],
    points: int,
    shortlist: int | None = None,
) -> Tensor:
    """The words (count,) with the least error, found one after the other among candidates (k,).

    errors(words (m, j)) -> (m,) of so many choices of the first j words, each of which passes `points` prompts.
    shortlist: of a large vocabulary only so many words are tried after those that are chosen, the most promising by
    losses(chosen (j,), word (width,)), the terms of a choice's error with a free word after it.
    """
    chosen, size = candidates.new_empty(0), max(1, PROMPTS // points)
    for _ in range(count):
        worth = candidates
        if shortlist:
            worth = most_promising(text_encoder, candidates, partial(losses, chosen), shortlist)
        tried = torch.cat([chosen.expand(len(worth), -1), worth[:, None]], 1)
        found = in_parts(lambda part, tried=tried: errors(tried[part]), len(tried), size, "words tried")
        chosen = tried[int(torch.cat(found).argmin())]
    return chosen


def learned_word(
    text_encoder: nn.Module, ids: Tensor, loss_of: Callable[[Tensor], Tensor], *, steps: int, rate: float
) -> Tensor:
    """A word (1, width) that descends on loss_of(word) (textual inversion, Gal et al. 2023).

    It starts as the first word of the first of the captions' token ids (n, length).
    """
    first = token_embedding(text_encoder).weight[ids[0, words_begin(text_encoder)]]
    word = nn.Parameter(first.detach().clone()[None])
    optimiser = torch.optim.Adam([word], rate)
    for _ in range(steps):
        loss = loss_of(word)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return word.detach()
