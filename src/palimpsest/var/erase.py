"""Make a next-scale model forget concepts by one method: every concept, setting and seed of a study; and judge it."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from palimpsest.judges.judging import Judging, attacking, drawing
from palimpsest.judges.readers import readers_of
from palimpsest.metrics.measurements import write
from palimpsest.models import var
from palimpsest.models.edit_table import write as list_edits
from palimpsest.models.var import Var
from palimpsest.options import Count
from palimpsest.run import Input, Output, UserError, step, torch_device
from palimpsest.unlearning.context import Conditioning, Context
from palimpsest.unlearning.rollouts import Rollouts, unpacked
from palimpsest.unlearning.runs import RunFiles, edited
from palimpsest.var.attacks import Attacker
from palimpsest.var.pairs import KEPT
from palimpsest.var.parts import select
from palimpsest.worlds.concepts import ROLES, Concept
from palimpsest.worlds.named import Named, concept_of


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
    judge_roles: list[str] | None = None,
    roles: list[str] | None = None,
    attacks: dict | None = None,
    judging_seed: Count = 0,
    device: str = "auto",
) -> dict:
    """weights: a folder with the changed tensors of each run; log: a row per step; edits: a row per run.

    rollouts, prompts: as `pairs` writes them; the rest as in `erasure.erase`, with methods of palimpsest.var.methods
    and selections of `var.parts`.
    """
    place, table = torch_device(device), pd.read_parquet(prompts)
    base = var.open_model(network, place)
    chosen = json.loads(selected.read_text(encoding="utf-8")) if selected else {}
    files, judged = RunFiles(weights, network, method), pd.read_parquet(judged_prompts)
    pooled = list(dict.fromkeys(run["concept"] for run in plan["runs"]))
    with np.load(rollouts) as drawn, np.load(judged_pictures) as before:
        contexts = {name: context_of(base, concept_of(name, concepts[name]), prompts, drawn, table) for name in pooled}
        attacker = Attacker({name: each.target for name, each in contexts.items()}, table, attacks) if attacks else None
        attack = attacking(attacker, sampling, judging_seed) if attacks else None
        readers, draw = readers_of(classifier, detector, judge_roles, judges), drawing(sampling, judging_seed)
        judging = Judging(readers, judged, before, concepts, pooled, draw, attack, roles or ROLES)
        for made in edited(plan["runs"], chosen, contexts, base.network, module, select):
            labels = files.add(made, made.network)
            judging.judge(base.with_network(made.network.eval()), made.run["concept"], method, **labels)
    files.write_log(log)
    write(measurements, [*judging.measurements(), *files.ended], family="var", model=model, study=study)
    np.savez(panel, **judging.panel)
    list_edits(edits, files.rows, base=model, base_path=network, family="var", method=method)
    return {"runs": len(files.rows), "unfinished": files.unfinished}


def kept_rollouts(base: Var, name: str, source: Path, drawn: Mapping, table: pd.DataFrame) -> tuple[Rollouts, Rollouts]:
    """The rollouts of a concept's kept pairs, and of the rest. Raises UserError where they are of another model."""
    rows = table[(table["concept"] == name) & (table["verdict"] == KEPT)]
    pairs, others = (rows[rows["role"] == role] for role in ("pair", "others"))
    if pairs.empty or others.empty:
        raise UserError(f"concept {name}: {source} has no pairs, or none of the rest. Draw them again")
    found = []
    for role, asked, safe in (("pairs", pairs, pairs["anchor"]), ("others", others, others["prompt"])):
        prefix = f"{name}.{role}."
        parts = {key.removeprefix(prefix): drawn[key] for key in drawn if key.startswith(prefix)}
        ids = base.ids(list(asked["prompt"])), base.ids(list(safe))
        try:
            found.append(unpacked(parts, base.visual.quantiser, *ids))
        except ValueError as error:
            raise UserError(
                f"concept {name}: {error}. The rollouts beside {source} are not of {base.folder}: draw them again"
            ) from None
    return found[0], found[1]


def context_of(base: Var, concept: Concept | Named, source: Path, drawn: Mapping, table: pd.DataFrame) -> Context:
    """What the methods may see: rollouts of pairs and of the rest, and prompts."""
    pairs, others = kept_rollouts(base, concept.name, source, drawn, table)
    return Context(
        "var",
        target=pairs,
        remember=others,
        timesteps=1,
        frozen=base.network,
        conditioning=Conditioning(
            concept=pairs.asked,
            none=base.ids(["."])[0],
            others=others.asked,
            anchors=pairs.safe,
            alone=base.ids(concept.alone()),
        ),
        bounds=None,
    )


if __name__ == "__main__":
    step(erase)
