"""Compare audited models picture by picture: what is a memory of the concept, and what any network shows.

The excess of a model is how much further out the seeds of the concept's pictures lie than those of its reference
pictures, in standard deviations of the NLL of N(0, I): mean z of the one set minus that of the other, both drawn by the
base, without guidance, under their own captions. A perfect erasure has the excess of the oracle, which never saw the
concept. So what a model remembers is the oracle's excess minus its own, on the same pictures: a memory is what is left
of it above zero, in a model that leaves the seeds of ordinary pictures about where they are under the base
(reference_shift): where it moves these too, as a network that knows nothing does, the excess says nothing. Every
picture counts that converged under all the models that are compared, and how many these are is measured too
(`compared`).
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd

from palimpsest.metrics import measurements as tidy
from palimpsest.metrics.estimates import of_pairs, spearman
from palimpsest.metrics.intervals import percentiles, wilson
from palimpsest.metrics.measurements import row, write
from palimpsest.options import Count
from palimpsest.run import Input, Output, step
from palimpsest.worlds.concepts import ALL, WITH_ORACLE

BASE, ORACLE = "pretrained", "oracle"
MODEL = ["method", "concept", "setting", "seed", "checkpoint"]
E, R = "concept", "neutral"
VALUES = ("z", "psnr", "detected")
DRAWS = 2000

# Means, or as many as draws of the bootstrap, by model ("own", pretrained, oracle), set and value.
Means = Mapping[tuple[str, str, str], np.ndarray]


def excess(means: Means, model: str) -> np.ndarray:
    """How much further out the concept's seeds lie than the reference's."""
    return means[model, E, "z"] - means[model, R, "z"]


QUANTITIES: dict[str, Callable[[Means], np.ndarray]] = {
    "excess": lambda means: excess(means, "own"),
    "shift": lambda means: excess(means, "own") - excess(means, BASE),
    "reference_shift": lambda means: means["own", R, "z"] - means[BASE, R, "z"],
    "remembered": lambda means: excess(means, ORACLE) - excess(means, "own"),
    "psnr_over_oracle": lambda means: means["own", E, "psnr"] - means[ORACLE, E, "psnr"],
    "detected_over_oracle": lambda means: means["own", E, "detected"] - means[ORACLE, E, "detected"],
}


def compare(
    rows: list[Input],
    erasure: list[Input],
    measurements: Output,
    points: Output,
    *,
    model: str,
    seed: Count = 0,
) -> dict:
    """rows: what `audit` measured of each picture; erasure: what the family erasure measured of the edits among them.

    measurements: QUANTITIES of each model, by concept, and the means of those that each concept has over all of them
    (all) and over those that there is an oracle of (with_oracle), of which share of its pictures they are (compared),
    and how the models' ranks agree (`ranks`); points: a row for each model that was edited here, what `ranks` compares.
    """
    table = pd.concat([pd.read_parquet(path) for path in rows], ignore_index=True)
    table = table[(table["kind"] == "") & (table["caption"] == "own") & table["set"].isin([E, R])]
    groups = dict(list(table.groupby(MODEL, sort=False)))
    known = {key: values_of(group) for key, group in groups.items()}
    networks = {key[:2]: values for key, values in known.items() if key[0] in (BASE, ORACLE)}
    lines, cloud, pooled = [], [], {}
    for key, own in known.items():
        labels = dict(zip(MODEL, key, strict=True))
        concept = labels["concept"]
        models = {"own": own, BASE: networks.get((BASE, concept)), ORACLE: networks.get((ORACLE, concept))}
        aligned = converged_in_all({name: each for name, each in models.items() if each is not None})
        found = estimated(aligned, np.random.default_rng(seed))
        pictures = {name: len(each) for name, each in aligned["own"].items()}
        fewer, counts = min(pictures.values()), np.array([sum(pictures.values()), len(groups[key])])
        lines.append(share(*counts, **labels))
        for group in (ALL, *([WITH_ORACLE] if (ORACLE, concept) in networks else [])):
            pooled.setdefault(tuple({**labels, "concept": group}.values()), []).append((found, fewer, counts))
        lines += [row(name, *centre(*values, fewer), n=pictures[E], **labels) for name, values in found.items()]
        cloud.append(labels | {name: value for name, (value, _) in found.items()})
    for key, parts in pooled.items():
        labels = dict(zip(MODEL, key, strict=True))
        lines.append(share(*sum(counts for _, _, counts in parts), **labels))
        for name in QUANTITIES:
            if not all(name in part for part, _, _ in parts):
                continue
            # The concepts of which there are pictures to compare; without any it is not a number.
            given = [(*part[name], fewer) for part, fewer, _ in parts]
            some = [each for each in given if each[2]] or given
            value, drawn = (np.mean([each[place] for each in some], axis=0) for place in (0, 1))
            fewer = sum(each[2] for each in some)
            lines.append(row(name, *centre(value, drawn, fewer), n=len(some), **labels))
    # What no model has is a column too: without an oracle, say.
    named = pd.DataFrame(cloud, columns=[*MODEL, *QUANTITIES])
    joined = with_erasure(named, tidy.read(erasure))
    joined.to_parquet(points, index=False)
    lines += list(ranks(joined, seed))
    write(measurements, lines, family="memory", model=model)
    return {"models": len(known)}


def values_of(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By set: the values of each picture that converged, by its number."""
    some = rows[rows["converged"]].astype({"detected": float})
    return {name: some[some["set"] == name].set_index("picture")[list(VALUES)] for name in (E, R)}


def converged_in_all(models: dict[str, dict[str, pd.DataFrame]]) -> dict[str, dict[str, pd.DataFrame]]:
    """The models on the pictures that all of them have."""
    common = {}
    for name in (E, R):
        places = [each[name].index for each in models.values()]
        common[name] = sorted(set(places[0]).intersection(*places[1:]))
    return {model: {name: each[name].loc[common[name]] for name in (E, R)} for model, each in models.items()}


def estimated(
    models: dict[str, dict[str, pd.DataFrame]], rng: np.random.Generator
) -> dict[str, tuple[float, np.ndarray]]:
    """Each quantity that the models allow: its value, and draws (DRAWS,) of its bootstrap over pictures.

    A picture is drawn for all models at once. Without pictures of either set it is not a number.
    """
    if not all(map(len, models["own"].values())):
        models = dict.fromkeys(models, dict.fromkeys((E, R), pd.DataFrame(np.nan, [0], VALUES)))
    sizes = {name: len(models["own"][name]) for name in (E, R)}
    picks = {name: rng.integers(size, size=(DRAWS, size)) for name, size in sizes.items()}
    point, drawn = {}, {}
    for model, sets in models.items():
        for name, frame in sets.items():
            for value in VALUES:
                given = frame[value].to_numpy()
                point[model, name, value] = given.mean()
                drawn[model, name, value] = given[picks[name]].mean(1)
    found = {}
    for name, quantity in QUANTITIES.items():
        try:
            found[name] = float(quantity(point)), quantity(drawn)
        except KeyError:  # there is no oracle
            continue
    return found


def centre(value: float, drawn: np.ndarray, count: int) -> tuple[float, float, float]:
    """A value with its 95 % interval, where so many pictures were drawn anew."""
    return (value, *np.quantile(drawn, percentiles(count)))


def share(count: int, total: int, **labels) -> dict:
    """Which share of a model's pictures are compared."""
    return row("compared", count / total, *wilson(int(count), int(total)), n=total, **labels)


def with_erasure(points: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """The points of models edited here with what erasure measured: prompts that show no concept, attacks that do."""
    wanted = {"erased": ("erased", "own")}
    attacks = measured.loc[measured["metric"] == "recovered", "prompts"].unique()
    wanted |= {f"recovered_{name}": ("recovered", name) for name in attacks}
    keys = ["method", "concept", "setting", "seed"]
    ours = ~points["method"].isin([BASE, ORACLE, "random", "zero"]) & (points["checkpoint"] == "")
    edited = points[ours].drop(columns="checkpoint")
    for name, (metric, prompts) in wanted.items():
        part = measured[(measured["metric"] == metric) & (measured["prompts"] == prompts)]
        values = part.astype({"seed": int})[[*keys, "value"]].rename(columns={"value": name})
        edited = edited.merge(values, on=keys, how="left")
    return edited


def ranks(points: pd.DataFrame, seed: int) -> Iterator[dict]:
    """Spearman's correlation, over edited models, of what erasure shows with what the audit does.

    Intervals are of a bootstrap over the models; of fewer than four nothing is said.
    """
    for name in [each for each in points if each == "erased" or each.startswith("recovered_")]:
        for other in ("excess", "remembered"):
            some = points[[name, other]].dropna().to_numpy()
            if len(some) < 4 or (some == some[0]).all(0).any():
                continue
            yield row(f"rank_{other}", *of_pairs(*some.T, spearman, seed), n=len(some), shown=name)


if __name__ == "__main__":
    step(compare)
