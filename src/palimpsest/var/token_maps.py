"""The loss of each token of the safe rollout before, during and after a training (Zhong et al. 2026, Fig. 3).

Under the concept's prompt, given the safe tokens: what VARE brings down, and beside it the floor, which is the
pretrained model's loss under the safe prompt itself. What the filter keeps there is wrong by chance alone. Whether a
training that has come down to it has erased what it will is another question: how often edits of that length still draw
the concept stands beside.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from palimpsest.metrics.measurements import mean_of, read, row, select, share_of, write
from palimpsest.models import edits as edited
from palimpsest.models import var
from palimpsest.models.scales import spans
from palimpsest.models.var import Var
from palimpsest.options import Share
from palimpsest.run import Input, Output, step, torch_device
from palimpsest.unlearning.rollouts import Rollouts
from palimpsest.unlearning.token_losses import wrong_share
from palimpsest.var.contexts import by_pair, kept_rollouts, kept_rows
from palimpsest.var.teacher_forced import said
from palimpsest.worlds.concepts import ALL

FLOOR, BEFORE = "floor", "before"

ByTraining = dict[tuple[str, str, int], np.ndarray]


def token_maps(
    network: Input,
    rollouts: Input,
    prompts: Input,
    edits: Input,
    judged: Input,
    maps: Output,
    measurements: Output,
    *,
    model: str,
    concepts: dict,
    lengths: dict,
    threshold: Share = 0.25,
    device: str = "auto",
) -> dict:
    """maps: `<concept>.<setting>`, the mean loss of a symbol of each token (L,), in nats, over the seeds of edits, and
    for the base: `before`, and `floor`. measurements: the share of tokens that the filter keeps, by scale and of all,
    by seed; and the stop that it suggests (`stops`). Intervals over pairs.

    edits, judged: of a study whose settings are lengths of one training, and what was measured of these; lengths: the
    steps of each; rollouts, prompts: as `pairs` writes them.
    """
    place = torch_device(device)
    base, table, found, rows = var.open_model(network, place), pd.read_parquet(prompts), defaultdict(list), []
    with np.load(rollouts) as drawn:
        pairs = {name: kept_rollouts(base, name, prompts, drawn, table)[0] for name in concepts}
    numbers = {name: kept_rows(table, name, "pair")["pair"].to_numpy() for name in concepts}
    asked = [(name, BEFORE, 0, base, "asked") for name in concepts]
    asked += [(name, FLOOR, 0, base, "safe") for name in concepts]
    asked += [
        (edit.target, edit.setting, edit.seed, base.with_network(edited.open_edit(edit, place)), "asked")
        for edit in edited.read(edits)
    ]
    sizes, together = base.visual.quantiser.sizes, {}
    parts = {"all": slice(None), **dict(zip(map(str, sizes), spans(sizes), strict=True))}
    for name, setting, seed, opened, prompt in asked:
        losses, kept = losses_of(opened, pairs[name], prompt, threshold)
        found[f"{name}.{setting}"].append(losses)
        shares = {scale: by_pair(kept[:, part].mean(1), numbers[name]) for scale, part in parts.items()}
        together[name, setting, seed] = shares["all"]
        labels = {"concept": name, "setting": setting, "seed": seed}
        rows += [mean_of("kept_tokens", each, scale=scale, **labels) for scale, each in shares.items()]
    np.savez(maps, **{name: np.mean(losses, 0) for name, losses in found.items()})
    write(measurements, [*rows, *stops(together, erased_of(judged), lengths)], family="var", model=model)
    return {"maps": len(found)}


def losses_of(model: Var, pairs: Rollouts, prompt: str, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Each token's mean loss (L,), and whether the filter keeps it of each rollout (n, L), 0 or 1."""
    losses, _ = said(model, getattr(pairs, prompt), pairs.inputs, pairs.tokens)
    kept = (wrong_share(losses) >= threshold).double()
    return losses.double().mean((0, 2)).cpu().numpy(), kept.cpu().numpy()


def erased_of(judged: Path) -> ByTraining:
    """By concept, setting and seed which pictures of the concept's own prompts lack it (n,), in any order."""
    rows = read([judged])
    rows = select(rows[rows["concept"] != ALL], metric="erased", prompts="own")
    keys = zip(rows["concept"], rows["setting"], rows["seed"], strict=True)
    counts = zip(keys, rows["value"], rows["n"].astype(int), strict=True)
    return {key: np.arange(count) < round(value * count) for key, value, count in counts}


def stops(kept: ByTraining, erased: ByTraining, lengths: dict[str, int]) -> list[dict]:
    """Where a training should end by what the filter keeps, and what is erased there: a line for each measurement.

    kept: by concept, setting and seed the share of each pair's tokens (m,), with what was kept `before` and at the
    `floor`; erased: as `erased_of`; lengths: the steps of each setting. By concept and seed `kept_above_floor` of each
    length, pair by pair; `floor_reached`, whether one of them is not above 0 by its interval, and `steps_to_floor`, the
    first that is so, where one is. Of all concepts together the means of these two, `kept_above_floor_at_end`, of the
    last length, and of trainings that came down to the floor, not begun there, `erased_at_floor` and `erased_at_end`.
    """
    steps, rows = dict(sorted({BEFORE: 0, **lengths}.items(), key=lambda each: each[1])), []
    last = list(steps)[-1]
    for seed in dict.fromkeys(seed for _, setting, seed in kept if setting == last):
        firsts, at_end, outcomes = {}, [], {"floor": [], "end": []}
        for name in [name for name, setting, other in kept if (setting, other) == (last, seed)]:
            labels, floor = {"concept": name, "seed": seed}, kept[name, FLOOR, 0]
            shares = {each: kept[name, each, seed if count else 0] for each, count in steps.items()}
            above = [mean_of("kept_above_floor", shares[each] - floor, setting=each, **labels) for each in steps]
            reached = [each["setting"] for each in above if each["low"] <= 0][:1]
            firsts[name] = [steps[setting] for setting in reached]
            at_end.append(shares[last] - floor)
            for setting in [each for each in reached if each != BEFORE]:
                outcomes["floor"].append(erased[name, setting, seed])
                outcomes["end"].append(erased[name, last, seed])
            rows += above
        counted = {name: (1, found) for name, found in firsts.items()}
        counted[ALL] = len(firsts), [each for found in firsts.values() for each in found]
        for name, (count, found) in counted.items():
            rows.append(row("floor_reached", len(found) / count, n=count, concept=name, seed=seed))
            if found:
                rows.append(row("steps_to_floor", np.mean(found), n=len(found), concept=name, seed=seed))
        rows.append(mean_of("kept_above_floor_at_end", np.concatenate(at_end), concept=ALL, seed=seed))
        for time, found in outcomes.items():
            if found:
                rows.append(share_of(f"erased_at_{time}", np.concatenate(found), concept=ALL, seed=seed))
    return rows


if __name__ == "__main__":
    step(token_maps)
