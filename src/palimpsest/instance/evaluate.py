"""Judge models that were made to forget, or their oracle: forgetting, integrity, collateral damage."""

import numpy as np
import pandas as pd

from palimpsest.instance.judging import Reference, integrity_rows, load_judges, similarity_rows
from palimpsest.instance.manifest import position_of
from palimpsest.judges.batches import in_batches
from palimpsest.metrics.halves import halves_of
from palimpsest.metrics.intervals import t_interval
from palimpsest.metrics.measurements import row, write
from palimpsest.models import diffusion
from palimpsest.options import Count
from palimpsest.run import Input, Output, step, torch_device

PANEL = 8  # reconstructions and samples kept as pictures
LABELS = ("setting", "surrogate", "seed")
COSINE, SHARE, DISTANCE = (-1.0, 1.0), (0.0, 1.0), (0.0, np.inf)
# Where quantities end, and so their intervals; others that are nowhere below zero end there.
BOUNDS = {
    **dict.fromkeys(("similarity_target", "similarity_reminded", "similarity_pretrained"), COSINE),
    **dict.fromkeys(("plausible", "samples_like_target", "forgotten"), SHARE),
    **dict.fromkeys(("frechet_pretrained", "frechet_data"), DISTANCE),
    **dict.fromkeys(("worst_similarity", "ssim"), COSINE),
}
COUNTED = ("steps", "batch", "forwards", "backwards", "mean_cosine", "conflict_rate")


def evaluate(
    reference: Input,
    judges: list[Input],
    target_images: Input,
    manifest: Input,
    measurements: Output,
    panel: Output,
    *,
    model: str,
    method: str,
    modules: dict,
    params: dict,
    models: Input | None = None,
    runs: Input | None = None,
    network: Input | None = None,
    plan: dict | None = None,
    study: str = "",
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """Measure every model of a study (models, runs), or one network as if it had forgotten the targets of each study.

    plan: {"studies": {name: lists of targets}}, for the latter. params as in `reference`. Each training seed has noises
    of its own, of which `pairs` samples are drawn: repeated trainings say how much both matter. panel: pictures of each
    model, `<folder>.rebuilt` (targets, draws, h, w, c) and `<folder>.samples`.
    """
    place = torch_device(device)
    known, judge = Reference.read(reference), load_judges(modules, judges)
    pictures, names = np.load(target_images), pd.read_parquet(manifest)
    if network is not None:
        every = sorted({stage for lists in plan["studies"].values() for stage in beginnings(lists)})
        stages = [{"folder": "+".join(one), "targets": "+".join(one), "seed": 0} for one in every]
        files = [network] * len(stages)
    else:
        stages = pd.read_parquet(runs).to_dict("records")
        files = [models / stage["folder"] / "unet" / diffusion.WEIGHTS for stage in stages]
    rows, panels, last = [], {}, None
    for stage, file in zip(stages, files, strict=True):
        if file != last:
            unet, scheduler = diffusion.load(file, place)
            indices = np.arange(params["pairs"]) + params["pairs"] * stage["seed"]
            samples = diffusion.sample(unet, scheduler, indices, steps=params["sampling_steps"], seed=seed)
            integrity = integrity_rows(judge, known, samples, indices)
            free, last = in_batches(judge["descriptor"].embed, samples), file
        targets = [position_of(names, name, manifest) for name in stage["targets"].split("+")]
        rebuilt = rebuild(unet, scheduler, known, targets, params, seed)
        found = [*similarity_rows(judge, known, rebuilt, free, targets, pictures), *integrity]
        found += [row(key, stage[key]) for key in COUNTED if key in stage and not np.isnan(stage[key])]
        rows += [{**one, "targets": stage["targets"], **{key: stage.get(key, "") for key in LABELS}} for one in found]
        panels[f"{stage['folder']}.samples"] = samples[:PANEL]
        panels[f"{stage['folder']}.rebuilt"] = rebuilt["target"][:, :PANEL]
    if network is None:
        complete = {stage["targets"] for stage in stages if stage["complete"]}
        rows = [{**one, "study": study} for one in rows + over_targets(rows, complete)]
    else:
        rows = [{**one, "study": name} for name, lists in plan["studies"].items() for one in of_lists(rows, lists)]
    write(measurements, rows, family="instance", model=model, method=method)
    np.savez(panel, **panels)
    return {"models": len(stages)}


def beginnings(lists: list[list[str]]) -> list[tuple[str, ...]]:
    """Every beginning of every list of targets: what is forgotten on the way."""
    return sorted({tuple(targets[:stage]) for targets in lists for stage in range(1, len(targets) + 1)})


def of_lists(rows: list[dict], lists: list[list[str]]) -> list[dict]:
    """The rows of a study's lists of targets and of their beginnings, with the means."""
    wanted = {"+".join(each) for each in beginnings(lists)}
    own = [one for one in rows if one["targets"] in wanted]
    return own + over_targets(own, {"+".join(each) for each in lists})


def over_targets(rows: list[dict], complete: set[str]) -> list[dict]:
    """Means over lists of equally many targets, and over seeds, labelled `targets` "mean" and `count`.

    complete: the lists that were asked for; where there are some of a length, the beginnings of longer ones are left
    out, and one that is both counts once. The interval is the t interval over the lists' values (their seeds averaged),
    of a single list over its seeds; where there is one value only, or all are the same, it is that one's own.
    """
    frame = pd.DataFrame(rows).assign(count=lambda frame: frame["targets"].str.count(r"\+") + 1)
    frame["kind"] = frame["kind"].fillna("") if "kind" in frame else ""
    asked = frame["targets"].isin(complete)
    frame = frame[asked | ~asked.groupby(frame["count"]).transform("any")]
    frame = frame.drop_duplicates(["metric", "targets", "kind", "setting", "surrogate", "seed"])
    means = []
    for labels, group in frame.groupby(["metric", "count", "kind", "setting", "surrogate"], sort=False):
        metric, count, kind, setting, surrogate = labels
        given = {"targets": "mean", "count": count, "setting": setting, "surrogate": surrogate, "seed": 0}
        given |= {"kind": kind} if kind else {}
        means.append(mean_row(metric, group, given))
        for half, seeds in halves_of(group["seed"]).items():
            means.append(mean_row(metric, group[group["seed"].isin(seeds)], {**given, "half": half}))
    return means


def mean_row(metric: str, group: pd.DataFrame, labels: dict) -> dict:
    """The mean of a group as `over_targets` says it; its interval ends where the quantity does."""
    several = group["targets"].nunique() > 1
    values = (group.groupby("targets")["value"].mean() if several else group["value"]).to_numpy()
    low, high = t_interval(values)[:2] if np.ptp(values) > 0 else group[["low", "high"]].iloc[0]
    least, greatest = BOUNDS.get(metric, (0.0 if (group["low"] >= 0).all() else -np.inf, np.inf))
    return row(metric, values.mean(), max(low, least), min(high, greatest), n=int(group["n"].sum()), **labels)


def rebuild(unet, scheduler, known: Reference, targets: list[int], params: dict, seed: int) -> dict[str, np.ndarray]:
    """The model's reconstructions of its targets, of their neighbours and of strangers: (images, draws, h, w, c).

    reminded: of its targets from half the timestep, as an attacker would begin them.
    """
    own = known.places("target")[targets]
    places = {
        "target": own,
        "reminded": own,
        "neighbour": np.concatenate([known.places("neighbour", target) for target in targets]),
        "stranger": known.places("stranger"),
    }
    draws = dict.fromkeys(("target", "reminded"), params["draws"])
    return {
        kind: diffusion.injected(
            unet,
            scheduler,
            known.injected_images[rows],
            timestep=known.timestep // 2 if kind == "reminded" else known.timestep,
            draws=draws.get(kind, params["bystander_draws"]),
            steps=params["injection_steps"],
            seed=seed,
        )
        for kind, rows in places.items()
    }


if __name__ == "__main__":
    step(evaluate)
