"""Make a model forget: every run of one method in one study, one after the other.

A run forgets its targets in their order, each starting from the model that forgot those before; the model after each
is kept, in a folder that `DDPMPipeline.from_pretrained` loads.
"""

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd

from palimpsest.instance.manifest import position_of
from palimpsest.models import diffusion
from palimpsest.models.edit_table import write as list_edits
from palimpsest.models.pixels import Pictures, to_tensor
from palimpsest.run import Input, Output, step, torch_device
from palimpsest.unlearning.context import Context, Examples
from palimpsest.unlearning.door import edit


def unlearn_all(
    network: Input,
    data_images: Input,
    target_images: Input,
    manifest: Input,
    remember: Input,
    neighbours: Input,
    surrogates: list[Input],
    models: Output,
    runs: Output,
    log: Output,
    edits: Output,
    *,
    model: str,
    method: str,
    module: str,
    plan: dict,
    selected: Input | None = None,
    generated: Input | None = None,
    device: str = "auto",
) -> dict:
    """Train every run of the plan. module: that of the method, which several may be settings of.

    plan: {"runs": [{"name", "targets", "surrogate", "remember", "seed", "training", "settings"}, ...]}: `training` goes
    to the engine, `settings` to the method; `remember` is "data" or "generated", the pretrained model's own samples.
    surrogates: files named as the runs name them. selected: the overrides that the tuning chose; a run with
    `"tuned": true` takes them.
    models: a folder with one model folder per stage; runs: a row for each; log: the steps of all; edits: the models as
    `models.edits` opens them.
    Raises UserError where a loss is not finite: the log, and the last finite weights, stay beside the outputs.
    """
    place = torch_device(device)
    unet, scheduler = diffusion.load(network, place)
    alphas, rows = scheduler.alphas_cumprod.to(place), pd.read_parquet(manifest)
    kept = np.load(remember)
    data = Pictures(np.load(data_images, mmap_mode="r"), kept, place)
    pools = {"data": data}
    if generated:
        samples = np.load(generated, mmap_mode="r")
        pools["generated"] = Pictures(samples, np.arange(len(samples)), place)
    targets = to_tensor(np.load(target_images)).to(place)
    nearest = np.searchsorted(kept, np.load(neighbours))
    stand_ins = {path.stem: to_tensor(np.load(path)).to(place) for path in surrogates}
    chosen = pd.read_json(selected, typ="series").to_dict() if selected else {}
    frozen = diffusion.NoisePredictor(unet, scheduler)
    lines, logs, listed = [], [], []
    for run in plan["runs"]:
        override = chosen if run.get("tuned") else {}
        settings = {**run["settings"], **override.get("settings", {})}
        training = {**run["training"], **override.get("training", {})}
        student = diffusion.NoisePredictor(copy.deepcopy(unet).requires_grad_(True), scheduler)
        for stage, name in enumerate(run["targets"], start=1):
            index = position_of(rows, name, manifest)
            context = Context(
                "instance",
                target=Examples(targets[index : index + 1]),
                remember=Examples(pools[override.get("remember", run["remember"])]),
                timesteps=len(alphas),
                seed=run["seed"] * 1000 + stage,
                frozen=frozen,
                alphas_cumprod=alphas,
                surrogate=stand_ins[run["surrogate"]][index : index + 1],
                neighbours=data[nearest[index]],
            )
            steps = edit(
                module,
                student,
                context,
                settings=settings,
                training={**training, "autocast": place.type == "cuda"},
                beside=log,
                save=lambda folder, student=student: save(folder, student.unet, scheduler),
                what=f"run {run['name']}, target {name}",
            )
            folder, labels = f"{run['name']}-{stage}", "+".join(run["targets"][:stage])
            file = save(models / folder, student.unet, scheduler)
            steps = pd.DataFrame(steps).assign(model=folder)
            logs.append(steps)
            complete, described_as = stage == len(run["targets"]), described(run, settings, training, steps)
            lines.append({"folder": folder, "targets": labels, "complete": complete, **described_as})
            listed.append({"target": labels, "seed": run["seed"], "setting": run["setting"], "path": file})
    base = {"base": model, "base_path": network, "family": "instance", "method": method, "format": "whole"}
    list_edits(edits, listed, **base)
    pd.concat(logs, ignore_index=True).to_parquet(log, index=False)
    pd.DataFrame(lines).to_parquet(runs, index=False)
    return {
        "runs": len(plan["runs"]),
        "models": len(lines),
        "smallest_batch": int(min(part["micro_batch"].min() for part in logs)),
    }


def described(run: dict, settings: dict, training: dict, steps: pd.DataFrame) -> dict:
    """What the measurements of a stage are labelled with, and what it cost."""
    cosine = steps.get("cosine", pd.Series(dtype=float))
    return {
        "setting": run["setting"],
        "surrogate": run["surrogate"],
        "seed": run["seed"],
        "used": json.dumps({**training, **settings}),
        "steps": len(steps),
        "batch": training["batch"],
        "forwards": int(steps["forwards"].sum()),
        "backwards": int(steps["backwards"].sum()),
        "mean_cosine": float(cosine.mean()),
        "conflict_rate": float((cosine.dropna() < 0).mean()) if cosine.notna().any() else float("nan"),
    }


def save(folder: Path, network, scheduler) -> Path:
    """Save a network in a folder that diffusers loads; gives the file of its weights."""
    file = folder / "unet" / diffusion.WEIGHTS
    diffusion.save(file, network, scheduler)
    return file


if __name__ == "__main__":
    step(unlearn_all)
