"""Make a model forget: every run of one method in one study, one after the other.

A run forgets its targets in their order, each starting from the model that forgot those before; the model after each
is kept, in a folder that `DDPMPipeline.from_pretrained` loads.
"""

import copy
import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd

from palimpsest.instance.engine import NotFinite, keep_steps, unlearn
from palimpsest.instance.manifest import position_of
from palimpsest.models import diffusion
from palimpsest.models.pixels import Pictures, to_tensor
from palimpsest.run import Input, Output, UserError, step, torch_device


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
    *,
    method: str,
    plan: dict,
    selected: Input | None = None,
    generated: Input | None = None,
    device: str = "auto",
) -> dict:
    """Train every run of the plan.

    plan: {"runs": [{"name", "targets", "surrogate", "remember", "seed", "training", "settings"}, ...]}: `training` goes
    to the engine, `settings` to the method; `remember` is "data" or "generated", the pretrained model's own samples.
    surrogates: files named as the runs name them. selected: the overrides that the tuning chose; a run with
    `"tuned": true` takes them.
    models: a folder with one model folder per stage; runs: a row for each; log: the steps of all.
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
    frozen = diffusion.NoisePredictor(unet)
    lines, logs = [], []
    for run in plan["runs"]:
        override = chosen if run.get("tuned") else {}
        settings = {**run["settings"], **override.get("settings", {})}
        training = {**run["training"], **override.get("training", {})}
        student = diffusion.NoisePredictor(copy.deepcopy(unet).requires_grad_(True))
        for stage, name in enumerate(run["targets"], start=1):
            index = position_of(rows, name, manifest)
            try:
                steps = unlearn(
                    import_module(f"palimpsest.instance.methods.{method}"),
                    student,
                    frozen,
                    alphas,
                    pools[override.get("remember", run["remember"])],
                    targets[index : index + 1],
                    stand_ins[run["surrogate"]][index : index + 1],
                    data[nearest[index]],
                    settings=settings,
                    seed=run["seed"] * 1000 + stage,
                    autocast=place.type == "cuda",
                    **training,
                )
            except NotFinite as error:
                left = keep_failed(models, log, student.unet, scheduler, error)
                raise UserError(
                    f"run {run['name']}, target {name}: {error}. Its last finite weights are in {left[0]}, the steps "
                    f"in {left[1]}."
                ) from error
            except (TypeError, ValueError) as error:
                raise UserError(f"method {method} with {settings} and {training}: {error}") from error
            folder = f"{run['name']}-{stage}"
            diffusion.save(models / folder / "unet" / diffusion.WEIGHTS, student.unet, scheduler)
            steps = pd.DataFrame(steps).assign(model=folder)
            logs.append(steps)
            lines.append(
                {
                    "folder": folder,
                    "targets": "+".join(run["targets"][:stage]),
                    "complete": stage == len(run["targets"]),
                    **described(run, settings, training, steps),
                }
            )
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


def keep_failed(models: Path, log: Path, network, scheduler, error: NotFinite) -> tuple[Path, Path]:
    """Save what a stopped run leaves, under names that are no outputs."""
    folder = models.with_name("failed")
    diffusion.save(folder / "unet" / diffusion.WEIGHTS, network, scheduler)
    return folder, keep_steps(log, error)


if __name__ == "__main__":
    step(unlearn_all)
