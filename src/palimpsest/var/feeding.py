"""What a next-scale model says of safe tokens, by the text and the tokens that it is fed (Zhong et al. 2026, Fig. 2).

What an edit has to change is the pretrained model's loss of the safe tokens under the concept's prompt. It is less
where the model sees the safe tokens of the scales before (VARE) than where it sees those that it would draw itself.
"""

from collections import defaultdict

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.metrics.censor import publishable
from palimpsest.metrics.measurements import mean_of, write
from palimpsest.models import var
from palimpsest.models.scales import spans
from palimpsest.options import Share
from palimpsest.run import Input, Output, step, torch_device
from palimpsest.unlearning.rollouts import Rollouts
from palimpsest.unlearning.token_losses import wrong_share
from palimpsest.var.contexts import by_pair, kept_rollouts, kept_rows
from palimpsest.var.teacher_forced import said
from palimpsest.worlds.concepts import ALL
from palimpsest.worlds.named import concept_of

SHOWN = 6  # pairs in the figure


def feeding(
    network: Input,
    rollouts: Input,
    prompts: Input,
    measurements: Output,
    panel: Output,
    *,
    model: str,
    concepts: dict,
    threshold: Share = 0.25,
    device: str = "auto",
) -> dict:
    """measurements: of each concept and input, by scale and of all tokens: loss of a symbol (nats), share of wrong
    symbols, share of tokens that the filter keeps; and of all concepts what VARE saves of the loss, pair by pair.
    Intervals over pairs.

    rollouts, prompts: as `pairs` writes them. threshold: of the filter. panel: what each input's likeliest tokens are
    decoded to, `<concept>.<input>`, beside the safe rollout itself.
    """
    base, table, rows, shown = var.open_model(network, torch_device(device)), pd.read_parquet(prompts), [], {}
    outcomes = defaultdict(list)
    sizes = base.visual.quantiser.sizes
    parts = {"all": slice(None), **dict(zip(map(str, sizes), spans(sizes), strict=True))}
    with np.load(rollouts) as drawn:
        for name, about in concepts.items():
            pairs, _ = kept_rollouts(base, name, prompts, drawn, table)
            numbers = kept_rows(table, name, "pair")["pair"].to_numpy()
            found = {"safe_rollout": pairs.tokens, "own_rollout": pairs.own}
            for fed, (conditions, inputs) in inputs_of(pairs).items():
                losses, likeliest = said(base, conditions, inputs, pairs.tokens)
                found[fed] = likeliest
                wrong = wrong_share(losses)
                every = {"loss": losses.mean(2), "wrong": wrong, "kept": (wrong >= threshold).float()}
                for metric, values in every.items():
                    for scale, part in parts.items():
                        each = by_pair(values[:, part].double().mean(1).cpu().numpy(), numbers)
                        for label in (name, ALL):
                            outcomes[f"token_{metric}", label, fed, scale].append(each)
            explicit = concept_of(name, about).censored
            for fed, tokens in found.items():
                shown[f"{name}.{fed}"] = publishable(var.pictures_of(base, tokens[:SHOWN]), explicit=explicit)
    for (metric, name, fed, scale), found in outcomes.items():
        rows.append(mean_of(metric, np.concatenate(found), concept=name, fed=fed, scale=scale))
    for scale in parts:
        own, safe = (np.concatenate(outcomes["token_loss", ALL, fed, scale]) for fed in ("concept_own", "concept_safe"))
        rows.append(mean_of("token_loss_saved", own - safe, concept=ALL, scale=scale))
    write(measurements, rows, family="var", model=model)
    np.savez(panel, **shown)
    return {"concepts": len(concepts)}


def inputs_of(pairs: Rollouts) -> dict[str, tuple[Tensor, Tensor]]:
    """Texts and inputs by what they are: the control, VARE, naive, and nothing to go on."""
    return {
        "safe_safe": (pairs.safe, pairs.inputs),
        "concept_safe": (pairs.asked, pairs.inputs),
        "concept_own": (pairs.asked, pairs.own_inputs),
        "concept_blank": (pairs.asked, torch.zeros_like(pairs.inputs)),
    }


if __name__ == "__main__":
    step(feeding)
