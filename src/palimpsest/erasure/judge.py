"""Judge the networks that nothing was erased from as edited models are judged: the base, its oracles, a random one."""

import numpy as np
import pandas as pd

from palimpsest.erasure.attacks import Attacker
from palimpsest.judges.judging import Judging, attacking, drawing
from palimpsest.judges.readers import readers_of
from palimpsest.metrics.measurements import write
from palimpsest.models import edits as edited
from palimpsest.models import text_diffusion
from palimpsest.options import Count
from palimpsest.run import Input, Output, step, torch_device


def judge(
    network: Input,
    edits: Input,
    prompts: Input,
    pictures: Input,
    classifier: Input,
    detector: Input,
    latents: Input,
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

    prompts, pictures: as `reference` writes them, which also says what the seed and the sampling mean; pooled: the
    concepts that are also measured together; judges: further ones, by their roles; latents, learned: pictures and
    prompts that an attacker has, as `draw` writes them; attacks: its settings (`Attacker`), where there are any. A row
    that names a concept is measured on that one alone.
    """
    place = torch_device(device)
    base, table = text_diffusion.open_model(network, place), pd.read_parquet(prompts)
    with np.load(pictures) as before, np.load(latents) as drawn:
        readers = readers_of(classifier, detector, judge_roles, judges)
        attack = attacking(Attacker(drawn, pd.read_parquet(learned), attacks), sampling, seed) if attacks else None
        judging = Judging(readers, table, before, concepts, pooled, drawing(sampling, seed), attack)
        for edit in edited.read(edits):
            changed = base.with_network(edited.open_edit(edit, place))
            for name in [edit.target] if edit.target else concepts:
                judging.judge(changed, name, edit.method, edit.setting, edit.seed)
    write(measurements, judging.measurements(), family="erasure", model=model, study=study)
    np.savez(panel, **judging.panel)
    return {"prompts": len(table)}


if __name__ == "__main__":
    step(judge)
