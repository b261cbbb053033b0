"""Where words stand in token ids (n, length) of CLIP's kind: the start of the text, words, and its end, then padding.

The end has the highest number of the vocabulary, by which CLIP itself finds it; what pads may have the same one.
"""

import torch
from torch import Tensor


def end_of_text(ids: Tensor) -> Tensor:
    """The place of each prompt's end of text (n,)."""
    return ids.argmax(1)  # the first of the highest


def words(ids: Tensor) -> Tensor:
    """Which tokens are words (n, length): those between the start and the end."""
    places = torch.arange(ids.shape[1], device=ids.device)
    return (places > 0) & (places < end_of_text(ids)[:, None])


def last(chosen: Tensor) -> Tensor:
    """The place of the last chosen token of each row (n,); -1 where none is."""
    places = torch.arange(1, chosen.shape[1] + 1, device=chosen.device)
    return (chosen * places).amax(1) - 1
