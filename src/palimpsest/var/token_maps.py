"""The loss of each token of the safe rollout before, during and after a training (Zhong et al. 2026, Fig. 3).

Under the concept's prompt, given the safe tokens: what VARE brings down, and beside it the floor, which is the
pretrained model's loss under the safe prompt itself.
"""

from collections import defaultdict

import numpy as np
import pandas as pd

from palimpsest.metrics.measurements import row, write
from palimpsest.models import edits as edited
from palimpsest.models import var
from palimpsest.models.scales import spans
from palimpsest.models.var import Var
from palimpsest.options import Share
from palimpsest.run import Input, Output, step, torch_device
from palimpsest.unlearning.rollouts import Rollouts
from palimpsest.unlearning.token_losses import wrong_share
from palimpsest.var.contexts import kept_rollouts
from palimpsest.var.teacher_forced import said

FLOOR, BEFORE = "floor", "before"


def token_maps(
    network: Input,
    rollouts: Input,
    prompts: Input,
    edits: Input,
    maps: Output,
    measurements: Output,
    *,
    model: str,
    concepts: dict,
    threshold: Share = 0.25,
    device: str = "auto",
) -> dict:
    """maps: `<concept>.<setting>`, the mean loss of a symbol of each token (L,), in nats, over the seeds of edits, and
    for the base: `before`, and `floor`. measurements: the share of tokens that the filter keeps, by scale and seed.

    edits: of a study whose settings are lengths of one training; rollouts, prompts: as `pairs` writes them.
    """
    place = torch_device(device)
    base, table, found, rows = var.open_model(network, place), pd.read_parquet(prompts), defaultdict(list), []
    with np.load(rollouts) as drawn:
        pairs = {name: kept_rollouts(base, name, prompts, drawn, table)[0] for name in concepts}
    asked = [(name, BEFORE, 0, base, "asked") for name in concepts]
    asked += [(name, FLOOR, 0, base, "safe") for name in concepts]
    asked += [
        (edit.target, edit.setting, edit.seed, base.with_network(edited.open_edit(edit, place)), "asked")
        for edit in edited.read(edits)
    ]
    for name, setting, seed, opened, prompt in asked:
        losses, kept = losses_of(opened, pairs[name], prompt, threshold)
        found[f"{name}.{setting}"].append(losses)
        labels = {"concept": name, "setting": setting, "seed": seed}
        for side, part in zip(base.visual.quantiser.sizes, spans(base.visual.quantiser.sizes), strict=True):
            rows.append(row("kept_tokens", float(kept[part].mean()), scale=str(side), **labels))
    np.savez(maps, **{name: np.mean(losses, 0) for name, losses in found.items()})
    write(measurements, rows, family="var", model=model)
    return {"maps": len(found)}


def losses_of(model: Var, pairs: Rollouts, prompt: str, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Each token's mean loss, and in which share of the pairs the filter keeps it, (L,) both."""
    losses, _ = said(model, getattr(pairs, prompt), pairs.inputs, pairs.tokens)
    kept = (wrong_share(losses) >= threshold).double().mean(0)
    return losses.double().mean((0, 2)).cpu().numpy(), kept.cpu().numpy()


if __name__ == "__main__":
    step(token_maps)
