"""Which scales, tokens and bits carry a concept: exchanged between the two rollouts of a pair, and pictures read.

Both rollouts are decided by the same numbers and differ by the concept alone. Symbols of a part (a scale, all scales up
to it, the centre or the border, a bit) of the concept's rollout are put into the safe one: is the concept there? Those
of the safe one take their place in the concept's: is it gone? The nulls take as many symbols of the same part from
another pair's, of the kind that is there already: they should neither bring the concept nor take it. Beside them stands
what the rules of latent code replacement do while the concept's prompts are drawn (`code_replacement`).
"""

from collections import defaultdict
from typing import get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.judges.readers import readers_of
from palimpsest.metrics.measurements import row, share_of, write
from palimpsest.models import var
from palimpsest.models.scales import spans
from palimpsest.models.var import Var
from palimpsest.options import Count, Positive, Share
from palimpsest.run import Input, Output, step, torch_device
from palimpsest.unlearning.rollouts import Rollouts
from palimpsest.var.code_replacement import Known, at_random, by_rule, rule_of, some_of
from palimpsest.var.contexts import kept_rollouts
from palimpsest.worlds.concepts import ALL
from palimpsest.worlds.named import concept_of

FRESH = 3_000_000  # noise of what is drawn by a rule: no number of a pair's, a judged prompt's or an attack's


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
    tops: list[Share],
    sampling: dict,
    sides: list[Positive] | None = None,
    judges: list[Input] | None = None,
    judge_roles: list[str] | None = None,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """measurements: of each concept and of all the share of pictures that show it after an exchange (`shows`), by part
    and kind, and the share of the part's symbols that it changed (`changed`); the same of each rule of replacement.

    rollouts, prompts: as `pairs` writes them. Kinds: `put` (into the safe rollout), `taken` (out of the concept's),
    `replaced`, each with its `_null`; a rule's parts are `symbols_<top>`, `tokens_<top>`, and `placed_` before both.
    count: pairs, at most; sides: of the scales that are exchanged, or all and every bit; tops: shares of the symbols or
    tokens that tell the concept which a rule replaces; sampling: how it is drawn then.
    """
    base, table = var.open_model(network, torch_device(device)), pd.read_parquet(prompts)
    rows, pooled = [], defaultdict(list)
    readers = readers_of(classifier, detector, judge_roles, judges)
    with np.load(rollouts) as drawn:
        for name, about in concepts.items():
            every = kept_rollouts(base, name, prompts, drawn, table)[0]
            pairs, concept = every.at(np.arange(min(count, len(every)))), concept_of(name, about)
            found = {part: exchanged(pairs, mask, seed) for part, mask in parts_of(base, sides).items()}
            found |= {
                f"{known}_{top}": replaced(base, every, count, known, top, sampling, seed)
                for known in get_args(Known)
                # A token of one symbol is that symbol.
                if known.endswith("tokens") or base.shape[1] > 1
                for top in tops
            }
            for part, kinds in found.items():
                for kind, (tokens, changed) in kinds.items():
                    shows = readers.shows(concept, var.pictures_of(base, tokens))
                    pooled[part, kind].append((shows, changed))
                    rows += [
                        share_of("shows", shows, concept=name, part=part, kind=kind),
                        row("changed", changed, concept=name, part=part, kind=kind),
                    ]
    for (part, kind), found in pooled.items():
        shows, changed = zip(*found, strict=True)
        rows += [
            share_of("shows", np.concatenate(shows), concept=ALL, part=part, kind=kind),
            row("changed", np.mean(changed), concept=ALL, part=part, kind=kind),
        ]
    write(measurements, rows, family="var", model=model)
    return {"concepts": len(concepts)}


def parts_of(model: Var, sides: list[int] | None = None) -> dict[str, Tensor]:
    """Which symbols (L, symbols) each part is of: some scales, the first up to each, where they stand, or every bit."""
    sizes, shape = model.visual.quantiser.sizes, model.shape
    found = {}
    for side, part in zip(sizes, spans(sizes), strict=True):
        if sides and side not in sides:
            continue
        found[f"scale_{side}"] = mask_of(shape, part, slice(None))
        found[f"up_to_{side}"] = mask_of(shape, slice(part.stop), slice(None))
    central = torch.cat([central_of(side) for side in sizes])
    found |= {name: places[:, None].expand(shape) for name, places in (("centre", central), ("border", ~central))}
    if model.visual.quantiser.values == 2 and not sides:
        found |= {f"bit_{bit}": mask_of(shape, slice(None), slice(bit, bit + 1)) for bit in range(shape[1])}
    return found


def mask_of(shape: tuple[int, int], tokens: slice, symbols: slice) -> Tensor:
    """True at some tokens' symbols."""
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[tokens, symbols] = True
    return mask


def central_of(side: int) -> Tensor:
    """Which tokens of a scale (side * side,) stand in the middle half of the picture, across and down."""
    middle = ((torch.arange(side) + 0.5) / side - 0.5).abs() < 0.25
    return (middle[:, None] & middle[None]).flatten()


def exchanged(pairs: Rollouts, mask: Tensor, seed: int) -> dict[str, tuple[Tensor, float]]:
    """By kind tokens (n, L, symbols), a part of them from elsewhere, and the share of its symbols that changed."""
    mask, own, safe = mask.to(pairs.tokens.device), pairs.own, pairs.tokens
    generator, many = torch.Generator().manual_seed(seed), ((own != safe) & mask).flatten(1).sum(1)

    def from_another(tokens: Tensor) -> Tensor:
        other = tokens.roll(1, 0)
        return torch.where(some_of((other != tokens) & mask, many, generator), other, tokens)

    found = {
        "put": (safe, torch.where(mask, own, safe)),
        "put_null": (safe, from_another(safe)),
        "taken": (own, torch.where(mask, safe, own)),
        "taken_null": (own, from_another(own)),
    }
    return {
        kind: (tokens, float((tokens != before)[:, mask].double().mean())) for kind, (before, tokens) in found.items()
    }


def replaced(
    model: Var, pairs: Rollouts, count: int, known: Known, top: float, sampling: dict, seed: int
) -> dict[str, tuple[Tensor, float]]:
    """By kind what the concept's prompts draw by a rule, and by its null, and the share of all symbols that changed.

    The rule for every other pair is learned from those between.
    """
    quantiser = model.visual.quantiser
    tokens, shares = {"replaced": [], "replaced_null": []}, []
    for half in range(min(2, len(pairs))):
        asked, learned = (pairs.at(np.arange(len(pairs))[start::2]) for start in (half, 1 - half))
        asked = asked.at(np.arange(min(-(-count // 2), len(asked))))
        rule = rule_of(learned.own.cpu(), learned.tokens.cpu(), quantiser.sizes, quantiser.values, known, top)
        uniform = var.noise_of(model, FRESH + half + 2 * np.arange(len(asked)), seed)
        edit, changed = by_rule(rule, seed)
        tokens["replaced"].append(var.roll_out(model, asked.asked, uniform, edit=edit, **sampling).symbols)
        edit = at_random(changed, quantiser.values, seed)
        tokens["replaced_null"].append(var.roll_out(model, asked.asked, uniform, edit=edit, **sampling).symbols)
        many = sum(counts.view(len(asked), -1).sum(1) for counts in changed.values())
        shares.append(many.double() / (model.shape[0] * model.shape[1]))
    return {kind: (torch.cat(each), float(torch.cat(shares).mean())) for kind, each in tokens.items()}


if __name__ == "__main__":
    step(exchange)
