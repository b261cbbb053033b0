"""An edit by the model itself: the target, noised to a timestep and denoised again (SDEdit, Meng et al. 2022).

It needs no editor and no knowledge of the picture: the surrogate for photographs.
"""

import numpy as np

from palimpsest.instance.surrogates.context import Context
from palimpsest.models import diffusion
from palimpsest.run import torch_device


def make(context: Context, *, timestep: int = 400, steps: int = 50) -> np.ndarray:
    network, scheduler = diffusion.load(context.network, torch_device())
    settings = {"timestep": timestep, "draws": 1, "steps": steps, "seed": context.seed}
    return diffusion.injected(network, scheduler, context.targets, **settings)[:, 0]
