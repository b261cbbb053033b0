"""Make a text-to-image model forget concepts by one method: every concept, setting and seed of a study.

What an edited model draws is judged at once: to load the libraries again would take longer.
"""

import copy
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.erasure.attacks import Attacker
from palimpsest.judges.judging import Judging, drawing
from palimpsest.judges.readers import readers_of
from palimpsest.metrics.measurements import write
from palimpsest.models import text_diffusion
from palimpsest.models.adapters import merge, weights_of
from palimpsest.models.edit_table import write as list_edits
from palimpsest.models.gated import Gated
from palimpsest.models.text_diffusion import Conditioned, TextDiffusion
from palimpsest.models.words import check_words, named_tokens
from palimpsest.options import Count
from palimpsest.run import Input, Output, UserError, step, torch_device
from palimpsest.unlearning.context import Conditioning, Context, Examples
from palimpsest.unlearning.runs import RunFiles, edited
from palimpsest.unlearning.selectors import select
from palimpsest.worlds.concepts import ROLES, Concept
from palimpsest.worlds.named import Named, concept_of

# Selections of their own: what is trained is added to the UNet, and then merged into it, or acts by the prompt.
ADAPTER, GATED = "adapter", "gated_adapter"


def erase(
    network: Input,
    latents: Input,
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
    judging_seed: Count = 0,
    device: str = "auto",
) -> dict:
    """weights: a folder with the changed tensors of each run; log: a row per step; edits: a row per run.

    plan: `runs`, each with concept, setting, seed, selection, training and settings; where the tuning chose a setting
    (selected), each takes that one's. module: of palimpsest.unlearning.methods; selection: the parameters that may
    change (`unlearning.selectors`, or "adapter", or "gated_adapter"). A run whose gradient or weights are not finite is
    kept with its last finite weights, and judged with them, and the other runs go on: its row of edits says why it
    ended, and the measurement `unfinished` is 1. Raises UserError for a run that cannot be made, before any is where
    that shows.
    judged_prompts, judged_pictures: as `reference` writes them, with its sampling and seed; measurements, panel:
    what the edited models draw for them. judges: further ones, by their roles, as `readers_of` takes them; data:
    real pictures, which distances are measured to as well. roles: of the prompts, those that are judged, or all;
    oracles: concepts that there is an oracle of; attacks: settings of the attacks on the edited models
    (`Attacker`), where there are any.
    """
    place, table = torch_device(device), pd.read_parquet(prompts)
    base = text_diffusion.open_model(network, place)
    chosen = json.loads(selected.read_text(encoding="utf-8")) if selected else {}
    files, judged = RunFiles(weights, network, method), pd.read_parquet(judged_prompts)
    pooled = list(dict.fromkeys(run["concept"] for run in plan["runs"]))
    with np.load(latents) as drawn, np.load(judged_pictures) as before:
        # Of all concepts first: what is wrong with the last one is said before the first has taken its time.
        contexts = {name: context_of(base, concept_of(name, concepts[name]), prompts, drawn, table) for name in pooled}
        readers = readers_of(classifier, detector, judge_roles, judges)
        attack = None
        if attacks:
            attack = partial(Attacker(drawn, table, attacks).pictures, sampling=sampling, seed=judging_seed)
        draw = drawing(sampling, judging_seed)
        judging = Judging(readers, judged, before, concepts, pooled, draw, attack, roles or ROLES, oracles or (), data)

        def of_run(run: dict) -> Context:
            return contexts[run["concept"]]

        for made in edited(plan["runs"], chosen, of_run, base.network, module, prepare):
            edit = made.network
            if made.run["selection"] == GATED:
                edit = gated(edit, base.network, of_run(made.run).part("conditioning").bare)
            labels = files.add(made, edit)
            judging.judge(base.with_network(merged(edit, base.network).eval()), made.run["concept"], method, **labels)
    files.write_log(log)
    write(measurements, [*judging.measurements(), *files.measured], family="erasure", model=model, study=study)
    np.savez(panel, **judging.panel)
    list_edits(edits, files.rows, base=model, base_path=network, family="erasure", method=method)
    return {"runs": len(files.rows), "unfinished": files.unfinished}


def prepare(student: Conditioned, selection: str) -> None:
    """Let the parameters of a selection change."""
    if selection in (ADAPTER, GATED):
        from palimpsest.unlearning import adapters  # peft takes seconds to load

        adapters.inject(student.unet)
    else:
        select(student, selection)


def gated(student: Conditioned, base: Conditioned, concept: Tensor) -> Conditioned:
    """The base with what was trained, by how much a prompt has to do with the concept's (k, length)."""
    return Gated(copy.deepcopy(base), weights_of(student), concept)


def merged(network: Conditioned, base: Conditioned) -> Conditioned:
    """The network itself, or one of the base's form into which its adapters are merged."""
    if not (state := weights_of(network)):
        return network
    plain = copy.deepcopy(base)
    merge(plain, state)
    return plain


def context_of(
    base: TextDiffusion, concept: Concept | Named, source: Path, drawn: Mapping, table: pd.DataFrame
) -> Context:
    """What the methods may see: the base's own pictures of the concept, of its anchors and of the rest, and prompts.

    source: the file of the prompts, for messages. Raises UserError for a concept without prompts, for one whose words
    the tokenizer does not know, and for a prompt that does not name it.
    """
    device = base.alphas_cumprod.device
    prompts = {
        role: list(rows["prompt"]) for role, rows in table[table["concept"] == concept.name].groupby("role", sort=False)
    }
    if missing := [role for role in ("concept", "anchor", "others") if not prompts.get(role)]:
        raise UserError(f"concept {concept.name}: {source} has no prompts of its {', '.join(missing)}. Draw them again")
    check_words(base, concept)
    ids = {role: base.ids(texts) for role, texts in prompts.items()}
    pictures = {
        role: Examples(torch.from_numpy(drawn[f"{concept.name}.{role}"]).to(device), ids[role]) for role in prompts
    }
    words = concept.words(prompts["concept"])
    if not all(words):
        raise UserError(f"concept {concept.name}: the prompt {prompts['concept'][words.index([])]!r} does not name it")
    return Context(
        "erasure",
        target=pictures["concept"],
        remember=pictures["others"],
        anchor=pictures["anchor"],
        timesteps=len(base.alphas_cumprod),
        frozen=base.network,
        alphas_cumprod=base.alphas_cumprod,
        conditioning=Conditioning(
            concept=ids["concept"],
            none=base.ids([""])[0],
            others=ids["others"],
            anchors=ids["anchor"],
            named=named_tokens(base, prompts["concept"], words),
            alone=base.ids(concept.alone()),
            anchors_named=named_tokens(base, prompts["anchor"], concept.anchor_words(prompts["anchor"])),
        ),
        bounds=None,
    )


if __name__ == "__main__":
    step(erase)
