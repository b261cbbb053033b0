"""What a pretrained next-scale model draws for pairs of prompts, which edits of such a model learn from.

A pair is a prompt with the concept and the same without it (Zhong et al. 2026): the tokens that are drawn for the safe
prompt are what the other prompt shall come to draw, and the context in which it learns to ("auxiliary visual tokens").
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from palimpsest.models.residual_quantiser import ResidualQuantiser


@dataclass(frozen=True)
class Rollouts:
    """Rows of pairs, or of single prompts, whose two prompts then are the same.

    asked (n, ...): conditions with the concept; safe (n, ...): without it; tokens (n, L, symbols) int64: drawn for the
    safe ones; own: drawn for those that are asked, from the same numbers; guided (n, L, symbols, values) float16: the
    logits that the safe tokens were drawn from; plain: those of the safe prompt alone, at the same tokens.
    """

    quantiser: ResidualQuantiser
    asked: Tensor
    safe: Tensor
    tokens: Tensor
    own: Tensor
    guided: Tensor
    plain: Tensor

    def __len__(self) -> int:
        return len(self.asked)

    def at(self, rows: np.ndarray) -> "Rollouts":
        """Some of the rows."""
        picked = torch.from_numpy(np.asarray(rows)).to(self.asked.device)
        names = [field.name for field in fields(self) if field.name != "quantiser"]
        return Rollouts(self.quantiser, **{name: getattr(self, name)[picked] for name in names})

    @property
    def inputs(self) -> Tensor:
        """What the safe tokens feed the transformer (n, L - 1, c): made of them again, which is cheaper than kept."""
        return self.quantiser.read(self.tokens).inputs

    @property
    def own_inputs(self) -> Tensor:
        """What the tokens of the prompt that is asked feed it."""
        return self.quantiser.read(self.own).inputs
