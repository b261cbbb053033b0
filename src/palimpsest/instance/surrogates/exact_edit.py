"""The exact edit of a procedural face: another person in the same pose, light and expression."""

import numpy as np

from palimpsest.instance.surrogates.context import Context
from palimpsest.run import UserError
from palimpsest.worlds.faces import IDENTITY, NUISANCE, edit, render


def make(context: Context, *, strength: float = 1.0) -> np.ndarray:
    if not {*IDENTITY, *NUISANCE} <= set(context.manifest):
        raise UserError("exact_edit needs procedural faces, whose attributes are known; give ddim_edit or file instead")
    identity, nuisance = (context.manifest[list(names)].to_numpy() for names in (IDENTITY, NUISANCE))
    size = context.targets.shape[1]
    kinds = context.manifest["ood"].to_numpy()
    edited = edit(identity, strength)
    pictures = [render(edited[i : i + 1], nuisance[i : i + 1], size, kinds[i] or None) for i in range(len(edited))]
    return np.concatenate(pictures)
