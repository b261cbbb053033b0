"""Judge the networks that nothing was erased from as edited models are judged: the base, its oracles, a random one."""

from functools import partial
from importlib import import_module

import numpy as np
import pandas as pd

from palimpsest.judges.judging import Judging, drawing
from palimpsest.judges.readers import readers_of
from palimpsest.metrics.measurements import write
from palimpsest.models import edits as edited
from palimpsest.models import text_to_image
from palimpsest.options import Count
from palimpsest.run import Input, Output, step, torch_device


def judge(
    network: Input,
    edits: Input,
    prompts: Input,
    pictures: Input,
    classifier: Input,
    detector: Input,
    drawn: Input,
    learned: Input,
    measurements: Output,
    panel: Output,
    *,
    family: str,
    model: str,
    study: str,
    concepts: dict,
    pooled: list[str],
    sampling: dict,
    judges: list[Input] | None = None,
    data: Input | None = None,
    judge_roles: list[str] | None = None,
    attacks: dict | None = None,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """measurements: of each row of edits on its concept, on all of them where it names none; panel: pictures.

    prompts, pictures: as `reference` writes them, which also says what the seed and the sampling mean; pooled: the
    concepts that are also measured together, and those of them that an oracle lacks once more; judges: further
    ones, by their roles; data: real pictures, which distances are measured to as well; drawn, learned: what methods
    of the family learn from, and their prompts, which an attacker has too; attacks: settings of the family's
    `Attacker`, where there are any. A row that names a concept is measured on that one alone; the base on all, since
    the choice of settings compares with it on the tuning's, by the pictures that it drew; others on the pooled ones.
    """
    place = torch_device(device)
    base, table = text_to_image.open_model(network, place), pd.read_parquet(prompts)
    attack = None
    if attacks:
        kind = import_module(f"palimpsest.{family}.attacks").Attacker
        attack = partial(kind.read(base, drawn, learned, pooled, attacks).pictures, sampling=sampling, seed=seed)
    with np.load(pictures) as before:
        readers = readers_of(classifier, detector, judge_roles, judges)
        listed = edited.read(edits)
        oracles = [edit.target for edit in listed if edit.method == "oracle"]
        draw = drawing(sampling, seed)
        judging = Judging(readers, table, before, concepts, pooled, draw, attack, oracles=oracles, data=data)
        for edit in listed:
            changed = base.with_network(edited.open_edit(edit, place))
            unchanged = edit.method == "pretrained"
            for name in [edit.target] if edit.target else concepts if unchanged else pooled:
                judging.judge(changed, name, edit.method, edit.setting, edit.seed, unchanged=unchanged)
    write(measurements, judging.measurements(), family=family, model=model, study=study)
    np.savez(panel, **judging.panel)
    return {"prompts": len(table)}


if __name__ == "__main__":
    step(judge)
