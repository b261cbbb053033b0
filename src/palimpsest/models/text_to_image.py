"""Any text-to-image model, known by the layout of its folder: of latent diffusion, or of next-scale prediction.

What both can be asked: `ids` of prompts, `tell_cut`, `with_network`, and to draw.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from palimpsest.models import text_diffusion, var
from palimpsest.models.edits import is_var
from palimpsest.models.text_diffusion import TextDiffusion
from palimpsest.models.var import Var


def open_model(path: Path, device: torch.device | str = "cpu") -> TextDiffusion | Var:
    """The model behind the file of a network's weights, frozen; every key and shape is checked."""
    return var.open_model(path, device) if is_var(path) else text_diffusion.open_model(path, device)


def draw(
    model: TextDiffusion | Var, prompts: Sequence[str], indices: np.ndarray, *, seed: int, **sampling
) -> np.ndarray:
    """Pictures (n, H, W, 3) uint8 of prompts, one each, from the noise of (seed, index)."""
    kind = var if isinstance(model, Var) else text_diffusion
    return kind.draw(model, prompts, indices, seed=seed, **sampling)
