"""Whether reconstructions tell a model that saw a picture from its oracle, which did not, at every timestep tried.

The measure of forgetting presumes that they do. Both networks get the same noise, so what they read is paired.
"""

import numpy as np
import pandas as pd

from palimpsest.instance.judging import Reference, described, load_judges
from palimpsest.judges.batches import in_batches
from palimpsest.metrics.intervals import bootstrap, t_interval
from palimpsest.metrics.measurements import row, write
from palimpsest.models import diffusion
from palimpsest.options import Count
from palimpsest.run import Input, Output, step, torch_device
from palimpsest.worlds.duplicates import squared_distances


def membership(
    reference: Input,
    pretrained: Input,
    oracle: Input,
    judges: list[Input],
    data_images: Input,
    target_images: Input,
    manifest: Input,
    curves: Output,
    measurements: Output,
    *,
    model: str,
    modules: dict,
    params: dict,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """Reconstruct every target from every timestep with both networks.

    params as in `reference`, of which `timesteps`, `draws` and `injection_steps` are read. curves: (network, target,
    copies, timestep, value), the mean similarity over draws. Measured by how often the data hold a target (`copies`:
    none, once, often): `membership_curve`, pretrained less oracle, by timestep, and `membership_gap`, the same at the
    timestep that the reference chose.
    """
    place, embed = torch_device(device), load_judges(modules, judges)["descriptor"].embed
    pictures, names = np.load(target_images), list(pd.read_parquet(manifest)["target"])
    groups = held(np.load(data_images, mmap_mode="r"), pictures)
    own = in_batches(embed, pictures)
    found = {}
    for name, file in (("pretrained", pretrained), ("oracle", oracle)):
        unet, scheduler = diffusion.load(file, place)
        for timestep in params["timesteps"]:
            rebuilt = diffusion.injected(
                unet,
                scheduler,
                pictures,
                timestep=timestep,
                draws=params["draws"],
                steps=params["injection_steps"],
                seed=seed,
            )
            found[name, timestep] = (described(embed, rebuilt) * own[:, None]).sum(2, dtype=np.float64)
    lines = [
        {"network": name, "target": target, "copies": group, "timestep": timestep, "value": value}
        for (name, timestep), values in found.items()
        for target, group, value in zip(names, groups, values.mean(1), strict=True)
    ]
    pd.DataFrame(lines).to_parquet(curves, index=False)
    rows, measured_at = [], Reference.read(reference).timestep
    for timestep in params["timesteps"]:
        differences = found["pretrained", timestep] - found["oracle", timestep]
        for group in sorted(set(groups)):
            rows.append(gap(differences[groups == group], "membership_curve", timestep=timestep, copies=group))
            if timestep == measured_at:
                rows.append(gap(differences[groups == group], "membership_gap", copies=group))
    write(measurements, rows, family="instance", model=model, study="membership", seed=seed)
    return {"targets": dict(zip(names, groups.tolist(), strict=True))}


def held(data: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """How often the data (n, h, w, c) hold each picture: none, once or often (pictures,)."""
    counts = (squared_distances(pictures, data) == 0).sum(1)
    return np.array(["none", "once", "often"])[counts.clip(max=2)]


def gap(differences: np.ndarray, metric: str, **labels) -> dict:
    """The mean of paired differences (targets, draws): its t interval over targets, of a single one over draws."""
    by_target = differences.mean(1)
    low, high = t_interval(by_target)[:2] if len(by_target) > 1 else bootstrap(differences[0])
    return row(metric, by_target.mean(), low, high, n=len(by_target), **labels)


if __name__ == "__main__":
    step(membership)
