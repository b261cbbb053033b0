"""Make a next-scale model forget concepts by one method: every concept, setting and seed of a study; and judge it."""

import json
from functools import partial

import numpy as np
import pandas as pd

from palimpsest.judges.judging import Judging, drawing
from palimpsest.judges.readers import readers_of
from palimpsest.metrics.measurements import write
from palimpsest.models import var
from palimpsest.models.edit_table import write as list_edits
from palimpsest.options import Count
from palimpsest.run import Input, Output, step, torch_device
from palimpsest.unlearning.context import Context
from palimpsest.unlearning.runs import RunFiles, edited
from palimpsest.var.attacks import Attacker
from palimpsest.var.contexts import Learned
from palimpsest.var.parts import select
from palimpsest.worlds.concepts import ROLES
from palimpsest.worlds.named import concept_of


def erase(
    network: Input,
    rollouts: Input,
    prompts: Input,
    judged_prompts: Input,
    judged_pictures: Input,
    classifier: Input,
    detector: Input,
    weights: Output,
    log: Output,
    edits: Output,
    measurements: Output,
    panel: Output,
    *,
    model: str,
    study: str,
    method: str,
    module: str,
    concepts: dict,
    sampling: dict,
    plan: dict,
    selected: Input | None = None,
    judges: list[Input] | None = None,
    data: Input | None = None,
    judge_roles: list[str] | None = None,
    roles: list[str] | None = None,
    oracles: list[str] | None = None,
    attacks: dict | None = None,
    half: bool = False,
    judging_seed: Count = 0,
    device: str = "auto",
) -> dict:
    """weights: a folder with the changed tensors of each run; log: a row per step; edits: a row per run.

    rollouts, prompts: as `pairs` writes them; a run of several concepts at once has their names with "+" between; its
    changes may have `learned`: of how many `pairs`, `rollouts` of each, and `others` (`Learned.of`). half: whether
    edited models are kept in bfloat16; they are judged as they are kept. The rest as in `erasure.erase`, with methods
    of palimpsest.var.methods and selections of `var.parts`.
    """
    place, table = torch_device(device), pd.read_parquet(prompts)
    base = var.open_model(network, place)
    chosen = json.loads(selected.read_text(encoding="utf-8")) if selected else {}
    files, judged = RunFiles(weights, network, method, half), pd.read_parquet(judged_prompts)
    named = {run["concept"]: run["concept"].split("+") for run in plan["runs"]}
    pooled = list(dict.fromkeys(name for names in named.values() for name in names))
    with np.load(rollouts) as drawn, np.load(judged_pictures) as before:
        learned = Learned.read(base, {name: concept_of(name, concepts[name]) for name in pooled}, prompts, drawn, table)
        attack = None
        if attacks:
            own = {name: each.target for name, each in learned.contexts.items()}
            attack = partial(Attacker(own, table, attacks).pictures, sampling=sampling, seed=judging_seed)
        readers, draw = readers_of(classifier, detector, judge_roles, judges), drawing(sampling, judging_seed)
        judging = Judging(readers, judged, before, concepts, pooled, draw, attack, roles or ROLES, oracles or (), data)

        def of_run(run: dict) -> Context:
            return learned.of(named[run["concept"]], **run.get("changes", {}).get("learned", {}))

        for made in edited(plan["runs"], chosen, of_run, base.network, module, select, place.type == "cuda"):
            labels = files.add(made, made.network)
            for name in named[made.run["concept"]]:
                judging.judge(base.with_network(made.network.eval()), name, method, **labels)
    files.write_log(log)
    write(measurements, [*judging.measurements(), *files.measured], family="var", model=model, study=study)
    np.savez(panel, **judging.panel)
    list_edits(edits, files.rows, base=model, base_path=network, family="var", method=method)
    return {"runs": len(files.rows), "unfinished": files.unfinished}


if __name__ == "__main__":
    step(erase)
