"""Batches that become smaller where memory does not suffice."""

from collections.abc import Callable
from typing import TypeVar

import torch

Part = TypeVar("Part")
# By the work, how many rows at a time this process has had memory for, where they were less than asked for.
KNOWN: dict[str, int] = {}


def halved(error: Exception, size: int, what: str) -> int:
    """Half of a batch's size after an error that means too little memory, which is said; raises any other error again.

    So does it where the size is one. what: the work, for the message.
    """
    # On a CPU torch raises a plain RuntimeError.
    known = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
    if not known or size == 1:
        raise error
    half = (size + 1) // 2
    print(f"{what}: memory does not suffice for {size} at a time; from now on {half} are taken", flush=True)
    return half


def in_parts(function: Callable[[slice], Part], count: int, size: int, what: str) -> list[Part]:
    """What a function gives for rows 0 to count, in order, `size` at a time; without rows that of an empty slice.

    Where memory does not suffice half as many are taken, from then on for all of this work (`what`).
    """
    found, start = [], 0
    while not found or start < count:
        size = max(1, min(size, KNOWN.get(what, size), count - start))
        try:
            found.append(function(slice(start, min(start + size, count))))
            start += size
        except (RuntimeError, MemoryError) as error:
            KNOWN[what] = halved(error, size, what)
    return found
