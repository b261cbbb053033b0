"""Words before a prompt: found ones, or free ones, vectors where the text encoder would look up its tokens'."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer


def embed_words(text_encoder: nn.Module, ids: Tensor, words: Tensor, after: int = 1) -> Tensor:
    """Embeddings (n, length, width) of token ids (n, length) with free words (n, k, width) among them.

    after: how many tokens stand before the free words, the start of the text by itself. The rest moves on by k places,
    and what then does not fit is cut off. The encoder itself does all else, so that with no words this is its output
    for the ids.
    """

    def insert(module: nn.Module, given: tuple, found: Tensor) -> Tensor:
        return torch.cat([found[:, :after], words, found[:, after:]], 1)[:, : found.shape[1]]

    hook = text_encoder.get_input_embeddings().register_forward_hook(insert)
    try:
        return text_encoder(ids)[0]
    finally:
        hook.remove()


def before(ids: Tensor, words: Tensor) -> Tensor:
    """Prompts (n, length) with words (k,) after their start; what then does not fit is cut off."""
    return torch.cat([ids[:, :1], words.to(ids.device).expand(len(ids), -1), ids[:, 1:]], 1)[:, : ids.shape[1]]


def candidates_of(tokenizer: CLIPTokenizer, forbidden: set[str]) -> Tensor:
    """Token ids (k,) of whole words that are none of those that name a concept."""
    ending, naming = "</w>", {word for words in forbidden for word in words.lower().split()}
    words = {
        number
        for token, number in tokenizer.get_vocab().items()
        if token.endswith(ending) and len(token) > len(ending) + 1 and token.removesuffix(ending) not in naming
    }
    return torch.tensor(sorted(words))


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
