"""The pictures that judges see of a text-to-image model: what it draws for prompts, and under attack."""

import numpy as np
import pandas as pd

from palimpsest.erasure.attacks import Attacker
from palimpsest.judges.judging import Attack, Draw
from palimpsest.models import autoencoder, text_diffusion
from palimpsest.models.text_diffusion import TextDiffusion
from palimpsest.worlds.concepts import Concept
from palimpsest.worlds.named import Named


def drawing(sampling: dict, seed: int) -> Draw:
    """How models draw rows of prompts, each from the noise of its number. sampling: `steps`, `guidance`."""

    def draw(model: TextDiffusion, rows: pd.DataFrame) -> np.ndarray:
        return text_diffusion.draw(model, list(rows["prompt"]), rows["noise"].to_numpy(), **sampling, seed=seed)

    return draw


def attacking(attacker: Attacker, sampling: dict, seed: int) -> Attack:
    """How models are attacked."""

    def attack(model: TextDiffusion, concept: Concept | Named, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        found = attacker.attack(model, concept, rows, sampling, seed)
        return {name: autoencoder.decode(model.vae, latents) for name, latents in found.items()}

    return attack
