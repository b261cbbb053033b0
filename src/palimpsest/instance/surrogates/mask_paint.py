"""A painted rectangle in the target's mean colour: the scripted form of an edit in a drawing program.

box: top, left, bottom and right, as shares of the sides.
"""

import numpy as np

from palimpsest.instance.surrogates.context import Context
from palimpsest.run import UserError


def make(context: Context, *, box: tuple[float, float, float, float] = (0.3, 0.2, 0.9, 0.8)) -> np.ndarray:
    top, left, bottom, right = box
    if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
        raise UserError(f"mask_paint: box is {list(box)}; give top, left, bottom, right as growing shares of the sides")
    height, width = context.targets.shape[1:3]
    painted = context.targets.copy()
    region = painted[:, round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
    region[...] = np.rint(region.mean((1, 2), keepdims=True))
    return painted
