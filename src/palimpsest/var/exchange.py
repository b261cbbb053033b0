"""Which scales and bits carry a concept: tokens exchanged between the two rollouts of a pair, and pictures read.

Both rollouts are decided by the same numbers and differ by the concept alone. Tokens of a part (a scale, all scales up
to it, a bit) of the concept's rollout are put into the safe one: is the concept there? Tokens of the safe one take
their place in the concept's: is it gone? The nulls take the same part of another pair's, of the kind that is there
already: they change as much, and neither bring the concept nor take it. The counterpart for next-scale tokens of the
code statistics of `lcr`.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.judges.readers import Judges, readers_of
from palimpsest.metrics.intervals import wilson
from palimpsest.metrics.measurements import row, write
from palimpsest.models import var
from palimpsest.models.scales import spans
from palimpsest.models.var import Var
from palimpsest.options import Positive
from palimpsest.run import Input, Output, step, torch_device
from palimpsest.unlearning.rollouts import Rollouts
from palimpsest.var.contexts import kept_rollouts
from palimpsest.worlds.named import concept_of


def exchange(
    network: Input,
    rollouts: Input,
    prompts: Input,
    classifier: Input,
    detector: Input,
    measurements: Output,
    *,
    model: str,
    concepts: dict,
    count: Positive,
    sides: list[Positive] | None = None,
    judges: list[Input] | None = None,
    judge_roles: list[str] | None = None,
    device: str = "auto",
) -> dict:
    """measurements: of each concept, part and kind of exchange the share of pictures that show the concept; and the
    share of symbols that differ between the two rollouts of a pair, by part.

    rollouts, prompts: as `pairs` writes them. Kinds: `put` (into the safe rollout), `taken` (out of the concept's),
    each with its `_null`. count: pairs, at most; sides: of the scales that are exchanged, or all and every bit.
    """
    base, table, rows = var.open_model(network, torch_device(device)), pd.read_parquet(prompts), []
    readers = readers_of(classifier, detector, judge_roles, judges)
    with np.load(rollouts) as drawn:
        for name, about in concepts.items():
            pairs = kept_rollouts(base, name, prompts, drawn, table)[0]
            pairs = pairs.at(np.arange(min(count, len(pairs))))
            for part, mask in parts_of(base, sides).items():
                differ = (pairs.own != pairs.tokens)[:, mask].double().mean()
                rows.append(row("tokens_differ", float(differ), concept=name, part=part, n=len(pairs)))
                for kind, tokens in exchanged(pairs, mask).items():
                    shows = shown(base, readers, concept_of(name, about), tokens)
                    interval = wilson(int(shows.sum()), len(shows))
                    rows.append(row("shows", shows.mean(), *interval, concept=name, part=part, kind=kind, n=len(shows)))
    write(measurements, rows, family="var", model=model)
    return {"concepts": len(concepts)}


def parts_of(model: Var, sides: list[int] | None = None) -> dict[str, Tensor]:
    """Which symbols (L, symbols) each part is of: some scales, the first up to each, or every bit too."""
    sizes, shape = model.visual.quantiser.sizes, model.shape
    found = {}
    for side, part in zip(sizes, spans(sizes), strict=True):
        if sides and side not in sides:
            continue
        found[f"scale_{side}"] = mask_of(shape, part, slice(None))
        found[f"up_to_{side}"] = mask_of(shape, slice(part.stop), slice(None))
    if model.visual.quantiser.values == 2 and not sides:
        found |= {f"bit_{bit}": mask_of(shape, slice(None), slice(bit, bit + 1)) for bit in range(shape[1])}
    return found


def mask_of(shape: tuple[int, int], tokens: slice, symbols: slice) -> Tensor:
    """True at some tokens' symbols."""
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[tokens, symbols] = True
    return mask


def exchanged(pairs: Rollouts, mask: Tensor) -> dict[str, Tensor]:
    """Tokens (n, L, symbols) by kind, a part of them from elsewhere."""
    mask, own, safe = mask.to(pairs.tokens.device), pairs.own, pairs.tokens
    return {
        "put": torch.where(mask, own, safe),
        "put_null": torch.where(mask, safe.roll(1, 0), safe),
        "taken": torch.where(mask, safe, own),
        "taken_null": torch.where(mask, own.roll(1, 0), own),
    }


def shown(model: Var, readers: Judges, concept, tokens: Tensor) -> np.ndarray:
    """Which pictures of tokens show the concept (n,)."""
    return readers.shows(concept, var.pictures_of(model, tokens))


if __name__ == "__main__":
    step(exchange)
