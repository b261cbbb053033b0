"""Work on many rows in parts, in smaller ones where memory does not suffice."""

from collections.abc import Callable
from typing import TypeVar

import torch

Part = TypeVar("Part")


def says_out_of_memory(error: Exception) -> bool:
    """Whether an error means too little memory; on a CPU torch raises a plain RuntimeError."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def in_parts(function: Callable[[slice], Part], count: int, size: int, what: str) -> list[Part]:
    """What a function of rows gives for all of `count`, in order, so many at a time; of none it is asked once.

    Where memory does not suffice half as many are taken from then on, which is said; what: the work, for that message.
    """
    found, start = [], 0
    while not found or start < count:
        try:
            found.append(function(slice(start, min(start + size, count))))
            start += size
        except (RuntimeError, MemoryError) as error:
            size = min(size, count - start)
            if not says_out_of_memory(error) or size == 1:
                raise
            half = (size + 1) // 2
            print(f"{what}: memory does not suffice for {size} at a time; from now on {half} are taken", flush=True)
            size = half
    return found
