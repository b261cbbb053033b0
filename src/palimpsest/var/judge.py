"""Judge the networks that nothing was erased from as edited models are judged: the base, its oracles, a random one."""

import numpy as np
import pandas as pd

from palimpsest.judges.judging import Judging, attacking, drawing
from palimpsest.judges.readers import readers_of
from palimpsest.metrics.measurements import write
from palimpsest.models import edits as edited
from palimpsest.models import var
from palimpsest.options import Count
from palimpsest.run import Input, Output, step, torch_device
from palimpsest.var.attacks import Attacker
from palimpsest.var.contexts import kept_rollouts


def judge(
    network: Input,
    edits: Input,
    prompts: Input,
    pictures: Input,
    classifier: Input,
    detector: Input,
    rollouts: Input,
    learned: Input,
    measurements: Output,
    panel: Output,
    *,
    model: str,
    study: str,
    concepts: dict,
    pooled: list[str],
    sampling: dict,
    judges: list[Input] | None = None,
    judge_roles: list[str] | None = None,
    attacks: dict | None = None,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """measurements: of each row of edits on its concept, on all of them where it names none; panel: pictures.

    rollouts, learned: pairs that an attacker has, as `pairs` writes them; the rest as in `erasure.judge`.
    """
    place = torch_device(device)
    base, table, pairs = var.open_model(network, place), pd.read_parquet(prompts), pd.read_parquet(learned)
    with np.load(pictures) as before, np.load(rollouts) as drawn:
        attack = None
        if attacks:
            own = {name: kept_rollouts(base, name, learned, drawn, pairs)[0] for name in pooled}
            attack = attacking(Attacker(own, pairs, attacks), sampling, seed)
        readers = readers_of(classifier, detector, judge_roles, judges)
        judging = Judging(readers, table, before, concepts, pooled, drawing(sampling, seed), attack)
        for edit in edited.read(edits):
            changed = base.with_network(edited.open_edit(edit, place))
            for name in [edit.target] if edit.target else concepts:
                judging.judge(changed, name, edit.method, edit.setting, edit.seed)
    write(measurements, judging.measurements(), family="var", model=model, study=study)
    np.savez(panel, **judging.panel)
    return {"prompts": len(table)}


if __name__ == "__main__":
    step(judge)
