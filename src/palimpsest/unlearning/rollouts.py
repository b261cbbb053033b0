"""What a pretrained next-scale model draws for pairs of prompts, which edits of such a model learn from.

A pair is a prompt with the concept and the same without it (Zhong et al. 2026): the tokens that are drawn for the safe
prompt are what the other prompt shall come to draw, and the context in which it learns to ("auxiliary visual tokens").
"""

from collections.abc import Mapping
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

    def after(self, others: "Rollouts") -> "Rollouts":
        """Those of another concept, and then these."""
        names = [field.name for field in fields(self) if field.name != "quantiser"]
        return Rollouts(
            self.quantiser, **{name: torch.cat([getattr(others, name), getattr(self, name)]) for name in names}
        )

    @property
    def inputs(self) -> Tensor:
        """What the safe tokens feed the transformer (n, L - 1, c): made of them again, which is cheaper than kept."""
        return self.quantiser.read(self.tokens).inputs

    @property
    def own_inputs(self) -> Tensor:
        """What the tokens of the prompt that is asked feed it."""
        return self.quantiser.read(self.own).inputs


TOKENS, LOGITS = ("tokens", "own"), ("guided", "plain")


def packed(rollouts: Rollouts) -> dict[str, np.ndarray]:
    """What is kept of rollouts, all but their conditions: of bits eight in a byte, and one logit of each, in halves.

    Of the two logits of a bit only the difference says anything.
    """
    found, bits = {}, rollouts.quantiser.values == 2
    for name in TOKENS:
        each = getattr(rollouts, name).cpu().numpy()
        found[name] = np.packbits(each.astype(bool).reshape(len(each), -1), axis=1) if bits else each.astype(np.int32)
    for name in LOGITS:
        each = getattr(rollouts, name).cpu()
        found[name] = (each[..., 1].float() - each[..., 0].float() if bits else each).half().numpy()
    return found


def unpacked(kept: Mapping[str, np.ndarray], quantiser: ResidualQuantiser, asked: Tensor, safe: Tensor) -> Rollouts:
    """The rollouts of conditions (n, ...) that `packed` gave, on the conditions' device.

    Raises ValueError for those of other conditions, or of a model with other tokens.
    """
    shape, device = (sum(side**2 for side in quantiser.sizes), quantiser.symbols), asked.device
    bits = quantiser.values == 2
    wanted = (len(asked), *shape) if bits else (len(asked), *shape, quantiser.values)
    for name in LOGITS:
        if kept[name].shape != wanted:
            raise ValueError(f"rollouts of the shape {kept[name].shape} for a model and prompts of {wanted}")
    found = {}
    for name in TOKENS:
        each = np.unpackbits(kept[name], axis=1, count=shape[0] * shape[1]) if bits else kept[name]
        found[name] = torch.from_numpy(each.reshape(len(asked), *shape).astype(np.int64)).to(device)
    for name in LOGITS:
        each = torch.from_numpy(kept[name]).to(device)
        found[name] = torch.stack([-each / 2, each / 2], -1) if bits else each
    return Rollouts(quantiser, asked, safe, **found)
