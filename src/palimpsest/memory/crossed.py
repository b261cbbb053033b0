"""The audit by inversion of face models that forgot single pictures, which no prompt names.

Where is the seed of a forgotten picture, under the model that forgot it, among the seeds of faces that no model has
seen? Its shift against the base is compared with theirs, since an edit moves all seeds: what is beyond is the picture's
own. Models of pixels, so that the picture itself is inverted. Controls are the oracle, which never saw the pictures, a
network with random weights, and one that predicts no noise.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.memory import statistics
from palimpsest.memory.ddim import Predict, schedule_of, zero
from palimpsest.memory.inversion import SAMPLERS, generate, invert
from palimpsest.memory.predictors import of_pixels
from palimpsest.memory.solvers import SOLVERS
from palimpsest.metrics.estimates import Interval, Statistic, area, of_mean, of_sets
from palimpsest.metrics.measurements import row, write
from palimpsest.models import diffusion, edit_table, edits
from palimpsest.models.edit_table import Edit
from palimpsest.models.forward_process import drawn_noise
from palimpsest.models.pixels import to_tensor
from palimpsest.models.unet import DDPMScheduler
from palimpsest.options import Amount, Count, Positive
from palimpsest.run import Input, Output, UserError, step, torch_device

PRETRAINED, ORACLE, RANDOM, ZERO = "pretrained", "oracle", "random", "zero"
# The picture to be forgotten, the same with white noise, and faces that no model has seen.
TARGET, NEAR, REFERENCE = "target", "near", "reference"
CONTROLS = (PRETRAINED, ORACLE, RANDOM, ZERO)
EDITED = "edited"  # the method of measurements over all methods
ALL = "all"  # the concept of measurements over all targets
# Of a seed that was found; of every inversion.
OF_SEEDS, OF_ALL = ("z", "nll", "psnr", "distance"), ("first_residual", "residual", "converged")
MEASURED = (*OF_SEEDS, *OF_ALL)
CHANCES = ("auc", "shift_auc", "converged")
UNKNOWN = Interval(np.nan, np.nan, np.nan)
Counted = dict[tuple[str, str], tuple[Interval, int]]  # by metric and set, with how many it is the mean of
PEAK = 2.0  # networks see [-1, 1]


def crossed(
    networks: Input,
    studied: list[Input],
    target_images: Input,
    target_manifest: Input,
    held_out_images: Input,
    pictures: Output,
    measurements: Output,
    *,
    model: str,
    count: Positive,
    neighbours: Positive,
    level: Amount,
    solver: str,
    steps: Positive,
    iterations: Count,
    tolerance: Amount,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """networks, studied: tables of edited models, of what nothing was erased from and of each method of a study.

    Audited are `count` held-out faces, each target of the study, and `neighbours` of it: the target with white noise of
    so many dB PSNR (level). pictures: a row for each network and picture: nll and z of the seed, the residual of the
    first step, from the clean picture, the largest of the others and whether all those are within the tolerance,
    evaluations, psnr (dB) of what the seed gives back, distance: how far the seed is from that under the base, in units
    of what is between two draws of N(0, I).
    """
    if solver not in SOLVERS:
        raise UserError(f"there is no solver {solver!r}. Give one of {', '.join(SOLVERS)}")
    place = torch_device(device)
    edited = [edit for path in studied for edit in complete(edit_table.read(path))]
    given = edit_table.read(networks)
    names = list(dict.fromkeys(name for edit in edited for name in targets_of(edit)))
    shown, clean = audited(
        np.load(target_images),
        pd.read_parquet(target_manifest),
        np.load(held_out_images, mmap_mode="r"),
        names,
        count=count,
        neighbours=neighbours,
        level=level,
        seed=seed,
    )
    scheduler = diffusion.load(given[0].base_path)[1]
    settings = {"solver": solver, "iterations": iterations, "tolerance": tolerance}
    seeds, found = {}, []
    for method, edit in [*((edit.method, edit) for edit in (*given, *edited)), (ZERO, None)]:
        wanted = targets_of(edit) if edit and edit.target else names
        part = shown[shown["target"].isin([*wanted, ""])]
        values, ends = inverted_by(
            predictor(edit, scheduler, place), scheduler, clean[part.index.tolist()].to(place), steps, settings
        )
        if method == PRETRAINED:
            # Of a seed that was not found nothing is near or far.
            known = np.where(values["converged"][:, None], ends, np.nan)
            seeds = dict(zip(part.index, known, strict=True))
        values["distance"] = apart(ends, np.stack([seeds[index] for index in part.index]))
        labels = {"method": method, "seed": edit.seed if edit else 0, "run": edit.target if edit else ""}
        found.append(part.reset_index(drop=True).assign(**labels, **values))
    rows = pd.concat(found, ignore_index=True)
    rows.to_parquet(pictures, index=False)
    write(measurements, measured(rows, seed), family="memory", model=model)
    return {"networks": len(found), "pictures": len(rows), "not_converged": int((~rows["converged"]).sum())}


def complete(listed: list[Edit]) -> list[Edit]:
    """The edits without those that a later one goes on from: of targets forgotten one after the other the last."""
    following = [*listed[1:], None]
    return [edit for edit, after in zip(listed, following, strict=True) if not goes_on(edit, after)]


def goes_on(edit: Edit, after: Edit | None) -> bool:
    """Whether the next row of a table is the next stage of the same run."""
    return after is not None and after.target.startswith(f"{edit.target}+") and after.seed == edit.seed


def targets_of(edit: Edit) -> list[str]:
    """The targets that an edited model has forgotten."""
    return edit.target.split("+")


def audited(
    targets: np.ndarray,
    manifest: pd.DataFrame,
    held_out: np.ndarray,
    names: list[str],
    *,
    count: int,
    neighbours: int,
    level: float,
    seed: int,
) -> tuple[pd.DataFrame, Tensor]:
    """What is inverted: rows (set, target, picture), target "" for held-out faces, and images (n, c, h, w), [-1, 1].

    Raises UserError where there are fewer held-out faces than are asked for, or a target has no picture.
    """
    if count > len(held_out) or count < 2:
        raise UserError(f"count is {count}: give at least 2, and at most the {len(held_out)} held-out faces")
    if missing := [name for name in names if name not in set(manifest["target"])]:
        raise UserError(
            f"no picture of the target {missing[0]}, which a model has forgotten: the files are of other runs"
        )
    places = [int(np.flatnonzero(manifest["target"] == name)[0]) for name in names]
    rows, images = [], []
    for name, image in zip(names, to_tensor(targets[places]), strict=True):
        noise = drawn_noise(seed, np.arange(neighbours), tuple(image.shape)) * PEAK * 10 ** (-level / 20)
        images += [image[None], image + noise]
        rows += [{"set": TARGET, "target": name, "picture": 0}]
        rows += [{"set": NEAR, "target": name, "picture": index} for index in range(neighbours)]
    images.append(to_tensor(held_out[:count]))
    rows += [{"set": REFERENCE, "target": "", "picture": index} for index in range(count)]
    return pd.DataFrame(rows), torch.cat(images)


def predictor(edit: Edit | None, scheduler: DDPMScheduler, place: torch.device) -> Predict:
    """The noise that an edited model predicts; None is a network that predicts none."""
    if edit is None:
        return zero
    return of_pixels(diffusion.NoisePredictor(edits.open_edit(edit, place), scheduler))


def inverted_by(
    predict: Predict, scheduler: DDPMScheduler, images: Tensor, steps: int, settings: dict
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What is measured of each image's seed (n,), and the seeds (n, d)."""
    # Only its timesteps and shares are used: it would clip what it predicts to [-1, 1], which cannot be undone.
    told = schedule_of(diffusion.ddim(scheduler, steps))
    inversion = invert(predict, images, **told, **settings)
    back = generate(predict, inversion.seeds, **told, sampler=SAMPLERS[settings["solver"]])
    seeds, residuals = inversion.seeds.cpu().numpy(), inversion.residuals.cpu().numpy()
    # The sampler's last step is nearly a projection onto pictures: its equation is stiff, its error not enlarged.
    rest = residuals[min(1, steps - 1) :].max(0)
    values = {
        "nll": statistics.nll(seeds),
        "z": statistics.z_score(seeds),
        "first_residual": residuals[0],
        "residual": rest,
        "converged": rest <= settings["tolerance"],
        "evaluations": inversion.evaluations.cpu().numpy(),
        "psnr": decibels(images, back).cpu().numpy(),
    }
    return values, statistics.flat(seeds)


def decibels(images: Tensor, others: Tensor) -> Tensor:
    """PSNR (n,) of images in [-1, 1], not rounded to 8 bits, so that it is finite; at most 120 dB."""
    errors = (images - others).square().flatten(1).mean(1)
    return 10 * torch.log10(PEAK**2 / errors.clamp_min(PEAK**2 * 1e-12))


def apart(seeds: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distance (n,) of seeds (n, d) to others, 1 for two draws of N(0, I)."""
    return np.linalg.norm(seeds - others, axis=1) / np.sqrt(2 * seeds.shape[1])


def measured(rows: pd.DataFrame, seed: int) -> list[dict]:
    """Of each method and target, then of its targets together (t interval over targets), then of all methods together
    (over methods). Runs of a method that have forgotten a target are averaged, picture by picture. No seed that was not
    found is in an average (OF_SEEDS); what has none left is not a number, and in none above it.
    """
    found, of_methods = [], {}
    usual = {name: averaged(rows[rows["method"] == name]) for name in (PRETRAINED, ORACLE)}
    for method, part in rows.groupby("method", sort=False):
        one = {}
        for name in [name for name in dict.fromkeys(part["target"]) if name]:
            runs = part[(part["target"] == name) & (part["set"] == TARGET)]["run"].unique()
            here = averaged(part[part["run"].isin(runs) & part["target"].isin(["", name])])
            one[name] = {key: (value, len(here)) for key, value in of_target(here, usual, seed)}
            found += lines(one[name], method=method, concept=name)
        of_methods[method] = pooled_over(list(one.values()))
        found += lines(of_methods[method], method=method, concept=ALL)
    edited = [values for method, values in of_methods.items() if method not in CONTROLS]
    return found + (list(lines(pooled_over(edited), method=EDITED, concept=ALL)) if edited else [])


def pooled_over(several: list[Counted]) -> Counted:
    """The mean of each metric and set over targets or methods, of those where it is a number, and of how many.

    What is a chance stays one at the ends of its interval.
    """
    found = {}
    for key in several[0]:
        known = np.array([values[key][0].value for values in several])
        known = known[np.isfinite(known)]
        mean = of_mean(known) if len(known) else UNKNOWN
        if key[0] in CHANCES:
            mean = mean._replace(low=max(mean.low, 0.0), high=min(mean.high, 1.0))
        found[key] = mean, len(known)
    return found


def lines(values: Counted, **labels) -> Iterator[dict]:
    """The measurements of values by metric and set."""
    return (row(f"crossed_{metric}", *value, n=n, set=name, **labels) for (metric, name), (value, n) in values.items())


def averaged(rows: pd.DataFrame) -> pd.DataFrame:
    """What is measured of each picture, over the runs that it was audited under; by set and picture, target kept.

    What is of seeds is not a number where no inversion converged.
    """
    found = rows.assign(**{metric: rows[metric].where(rows["converged"].astype(bool)) for metric in OF_SEEDS})
    return found.groupby(["set", "target", "picture"], sort=False)[list(MEASURED)].mean()


def of_target(
    here: pd.DataFrame, usual: dict[str, pd.DataFrame], seed: int
) -> Iterator[tuple[tuple[str, str], Interval]]:
    """Of one target's pictures and the held-out faces under one method (`averaged`): by metric and set.

    z_shift, z_over_oracle: z less that under the base, or the oracle, less the same of the held-out faces. auc: the
    chance that the seed is less likely than a held-out face's; shift_auc: that its z has grown by more.
    """
    for name, part in here.groupby(level="set", sort=False):
        for metric in MEASURED:
            yield (metric, name), Interval(float(part[metric].mean()), np.nan, np.nan)
    moved = {against: here["z"] - table["z"].reindex(here.index) for against, table in usual.items()}
    for name in (TARGET, NEAR):
        yield ("auc", name), beside(here["z"], name, area, seed)
        for against, metric in ((PRETRAINED, "z_shift"), (ORACLE, "z_over_oracle")):
            yield (metric, name), beside(moved[against], name, lambda one, other: one.mean(-1) - other.mean(-1), seed)
        yield ("shift_auc", name), beside(moved[PRETRAINED], name, area, seed)


def beside(values: pd.Series, name: str, statistic: Statistic, seed: int) -> Interval:
    """A statistic of a set's values and the held-out faces', by picture; not a number where one has none."""
    own, rest = (values.xs(kind, level="set").dropna().to_numpy() for kind in (name, REFERENCE))
    return of_sets(own, rest, statistic, seed) if len(own) and len(rest) else UNKNOWN


if __name__ == "__main__":
    step(crossed)
