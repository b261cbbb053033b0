"""Free words before a prompt: vectors where the text encoder would look up its tokens', which no word need have."""

import torch
from torch import Tensor, nn


def embed_words(text_encoder: nn.Module, ids: Tensor, words: Tensor) -> Tensor:
    """Embeddings (n, length, width) of token ids (n, length) with free words (n, k, width) after the start of the text.

    The rest moves on by k places, and what then does not fit is cut off. The encoder itself does all else, so that with
    no words this is its output for the ids.
    """

    def insert(module: nn.Module, given: tuple, found: Tensor) -> Tensor:
        return torch.cat([found[:, :1], words, found[:, 1:]], 1)[:, : found.shape[1]]

    hook = text_encoder.get_input_embeddings().register_forward_hook(insert)
    try:
        return text_encoder(ids)[0]
    finally:
        hook.remove()
