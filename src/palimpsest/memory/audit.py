"""Audit models by inversion: what pictures of a concept, and others, are to each edited model of a method.

Concept level: the seed of each picture under captions, how likely it is, and what it gives back. Image level: the same
of other latents of one picture (`memory.decode`), and how far apart their seeds are. Both of every model of a table of
edits in one job, since to load the libraries takes longer than to invert a set.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from palimpsest.judges.readers import readers_of
from palimpsest.memory import statistics
from palimpsest.memory.auditing import Settings, audited, decibels, predictor
from palimpsest.memory.decoder_inversion import KINDS
from palimpsest.metrics.censor import publishable
from palimpsest.metrics.measurements import mean_of, row, share_of, write
from palimpsest.models import edits as edited
from palimpsest.models import text_diffusion
from palimpsest.models.text_diffusion import TextDiffusion
from palimpsest.options import Count
from palimpsest.run import Input, Output, step, torch_device
from palimpsest.worlds.concepts import ALL, WITH_ORACLE
from palimpsest.worlds.named import concept_of

ZERO = "zero"  # a network that predicts no noise; no table lists it
GUIDED = "guided"
MODEL = ["method", "concept", "setting", "seed", "checkpoint"]  # what tells audited models apart
QUERY = ["concept", "picture"]
OTHERS = ("distant", "adjacent", "reencoded")  # latents of a query that are not its own
LIKELY = ("distant", "adjacent")  # those of them of which is said how likely their seeds are
DISTANCES = ["cosine", "apart", "distance", "variation", "cosine_to_own"]
REFERENCES = {"concept": ("neutral", "real"), "real_concept": ("real",)}  # what a set is compared with
RANDOM_SEEDS = 1_000_000  # numbers of the noise that found seeds are shown beside
STAGED = ("concept", "scrambled")  # sets whose first picture is shown stage by stage
SPAN = 3.0  # a seed's values that are shown, to either side of zero


class Collected(NamedTuple):
    """What is inverted. pictures: (n, H, W, 3) uint8, latents: (n, c, h, w), rows: their manifest; and of `decode`."""

    pictures: np.ndarray
    latents: torch.Tensor
    rows: pd.DataFrame
    decoded: torch.Tensor
    decoded_rows: pd.DataFrame


def audit(
    network: Input,
    edits: Input,
    pictures: Input,
    manifest: Input,
    latents: Input,
    latent_rows: Input,
    encoded: Input,
    plain: Input,
    classifier: Input,
    detector: Input,
    rows: Output,
    seeds: Output,
    panel: Output,
    measurements: Output,
    *,
    model: str,
    concepts: dict,
    cases: dict,
    inversion: dict,
    sampling: dict,
    judges: list[Input] | None = None,
    judge_roles: list[str] | None = None,
    oracles: list[str] | None = None,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """rows: a line for each inversion; seeds, panel: arrays by `<method>.<concept>.<setting>.<seed>`, the seeds in the
    order of the rows, of the panel the query (the picture of the concept whose PSNR is the median), what its seed gives
    back, and what a random seed gives under its caption as the model is used (sampling); by `stages.<set>.` and the
    same the stages of one audit (`staged`). The panel is censored where the concept is explicit.

    cases: by method, which sets are inverted under which captions (own, neutral, empty), and which under their own with
    the sampling's guidance (guided); of which kinds a query's other latents are inverted (images), all where none are
    named. Audited are the methods that it names, "zero" too. inversion: solver, steps, iterations, tolerance,
    precision. latents, latent_rows, encoded, plain: as `decode` writes them. judges: further ones, by their roles, as
    `readers_of` takes them. oracles: the concepts that there is an oracle of, which are measured together too. The
    record says how many captions of each concept's pictures are cut off, with and without the concept.
    """
    place, settings = torch_device(device), Settings(**inversion)
    base, readers = text_diffusion.open_model(network, place), readers_of(classifier, detector, judge_roles, judges)
    array, table = np.load(pictures), pd.read_parquet(manifest)
    own, sought = (torch.from_numpy(np.load(each)) for each in (encoded, latents))
    given = Collected(array, own, table, sought, pd.read_parquet(latent_rows))
    unchanged = np.load(plain)
    ceiling = decibels(array, unchanged)
    cut = {name: base.tell_cut(name, captions_of(table, name)) for name in concepts}
    frames, kept, shown = [], {}, {}
    listed = [edit for edit in edited.read(edits) if edit.method in cases]
    for labels, changed in models(base, listed, ZERO in cases, place):
        for name in [labels["target"]] if labels["target"] else concepts:
            concept = concept_of(name, concepts[name])
            chosen = cases[labels["method"]]
            frame, values, back = inverted(base, changed, given, name, chosen, settings, sampling["guidance"])
            frame["detected"] = readers.shows(concept, back)
            frame["ceiling"] = np.where(frame["kind"] == "", ceiling[frame["row"].clip(lower=0)], np.nan)
            labels["concept"] = name
            key = ".".join(str(labels[part]) for part in ("method", "concept", "setting", "seed"))
            kept[key] = values.astype(np.float32)
            found = staged(given.pictures, unchanged, frame, values, back)
            pictures = {f"stages.{kind}.{key}": stages for kind, stages in found.items()}
            if changed is not None:
                pictures[key] = example(changed, given, frame, back, sampling, seed)
            # Censored here: what is not in the file can be shown by no figure and no notebook.
            shown |= {each: publishable(some, explicit=concept.censored) for each, some in pictures.items()}
            frames.append(frame.assign(**{part: labels[part] for part in MODEL}))
    whole, every = pd.concat(frames, ignore_index=True), np.concatenate(list(kept.values()))
    whole.to_parquet(rows, index=False)
    np.savez(seeds, **kept)
    np.savez(panel, **shown)
    write(measurements, measured(whole, every, oracles or []), family="memory", model=model)
    return {"inversions": len(whole), "not converged": int((~whole["converged"]).sum()), "cut_captions": cut}


def captions_of(manifest: pd.DataFrame, concept: str) -> list[str]:
    """Every caption of a concept's pictures once, their own and those without the concept."""
    rows = manifest[manifest["concept"] == concept]
    return list(dict.fromkeys([*rows["own"], *rows["neutral"]]))


def measured(rows: pd.DataFrame, seeds: np.ndarray, oracles: Sequence[str] = ()) -> Iterator[dict]:
    """What is said of each model and concept, of all of a model's concepts together, and of those with an oracle."""
    together = [part for part in MODEL if part != "concept"]
    known = rows[rows["concept"].isin(oracles)]
    for keys, concept, table in ((MODEL, "", rows), (together, ALL, rows), (together, WITH_ORACLE, known)):
        for values, group in table.groupby(keys, sort=False):
            marks, part = dict(zip(keys, values, strict=True)), seeds[group.index]
            group = group.reset_index(drop=True)
            size = part[0].size
            for line in (*of_pictures(group), *of_sets(group, size), *of_others(group, size), *of_seeds(group, part)):
                yield {"concept": concept} | line | marks


def models(
    base: TextDiffusion, edits: list, zero: bool, place: torch.device
) -> Iterator[tuple[dict, TextDiffusion | None]]:
    """Every model with its labels; None for the network that predicts no noise."""
    for edit in edits:
        names = {name: getattr(edit, name) for name in ("method", "target", "setting", "seed", "checkpoint")}
        yield names, base.with_network(edited.open_edit(edit, place))
    if zero:
        yield {"method": ZERO, "target": "", "setting": "", "seed": 0, "checkpoint": ""}, None


def inverted(
    base: TextDiffusion,
    model: TextDiffusion | None,
    given: Collected,
    concept: str,
    cases: dict,
    settings: Settings,
    guidance: float,
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """A row for each inversion of a concept's pictures, with its seed (c, h, w) and what this gives back."""
    plain = [of_case(given, concept, caption, cases.get(caption, [])) for caption in ("own", "neutral", "empty")]
    plain.append(of_images(given, concept, cases.get("images", KINDS)))
    guided = [] if model is None else [of_case(given, concept, GUIDED, cases.get(GUIDED, []))]
    parts = []
    for scale, some in ((1.0, plain), (guidance, guided)):
        frame = pd.concat(some, ignore_index=True) if some else pd.DataFrame()
        if frame.empty:
            continue
        sources = [given.decoded if kind else given.latents for kind in frame["kind"]]
        latents = torch.stack([source[place] for source, place in zip(sources, frame["source"], strict=True)])
        found = audited(
            base,
            predictor(model, list(frame["prompt"]), scale, settings.precision),
            latents,
            given.pictures[frame["row"]],
            settings,
        )
        parts.append((frame.drop(columns=["source"]).join(found.rows), found.seeds, found.pictures))
    frames, seeds, back = zip(*parts, strict=True)
    return pd.concat(frames, ignore_index=True), np.concatenate(seeds), np.concatenate(back)


def of_case(given: Collected, concept: str, caption: str, sets: list[str]) -> pd.DataFrame:
    """The pictures of some sets under a caption. row: the picture's in the manifest; source: that of its latents."""
    rows = given.rows[(given.rows["concept"] == concept) & given.rows["set"].isin(sets)]
    prompts = {"empty": [""] * len(rows), "neutral": list(rows["neutral"])}.get(caption, list(rows["own"]))
    return pd.DataFrame(
        {
            "set": rows["set"].to_numpy(),
            "picture": rows["picture"].to_numpy(),
            "row": rows.index.to_numpy(),
            "source": rows.index.to_numpy(),
            "prompt": prompts,
        }
    ).assign(caption=caption, kind="", support=-1)


def of_images(given: Collected, concept: str, kinds: Sequence[str]) -> pd.DataFrame:
    """The other latents of the concept's queries of these kinds, under the query's own caption."""
    rows = given.decoded_rows[(given.decoded_rows["concept"] == concept) & given.decoded_rows["kind"].isin(kinds)]
    own = given.rows[(given.rows["concept"] == concept) & (given.rows["set"] == "concept")]
    queries = own.iloc[rows["query"].to_numpy()]
    return pd.DataFrame(
        {
            "picture": rows["query"].to_numpy(),
            "row": queries.index.to_numpy(),
            "source": rows.index.to_numpy(),
            "prompt": queries["own"].to_numpy(),
            "kind": rows["kind"].to_numpy(),
            "support": rows["support"].to_numpy(),
        }
    ).assign(set="concept", caption="own")


def example(
    model: TextDiffusion, given: Collected, rows: pd.DataFrame, back: np.ndarray, sampling: dict, seed: int
) -> np.ndarray:
    """The query of median PSNR, what its seed gives back, and a picture from a random seed, (3, H, W, 3)."""
    own = rows[(rows["kind"] == "") & (rows["set"] == "concept") & (rows["caption"] == "own")]
    place = own["psnr"].sort_values(kind="stable").index[(len(own) - 1) // 2]
    number = np.array([RANDOM_SEEDS + rows["picture"][place]])
    other = text_diffusion.draw(model, [rows["prompt"][place]], number, **sampling, seed=seed)[0]
    return np.stack([given.pictures[rows["row"][place]], back[place], other])


def staged(
    pictures: np.ndarray, decoded: np.ndarray, rows: pd.DataFrame, seeds: np.ndarray, back: np.ndarray
) -> dict[str, np.ndarray]:
    """By set (STAGED): its first picture, what its own latents decode to, its seed, what this gives back (4, H, W, 3).

    pictures, decoded: of the manifest's rows; seeds, back: of `rows`, under the own caption.
    """
    own = rows[(rows["kind"] == "") & (rows["caption"] == "own") & rows["set"].isin(STAGED)].drop_duplicates("set")
    return {
        kind: np.stack([pictures[row], decoded[row], as_picture(seeds[place], pictures.shape[1]), back[place]])
        for place, kind, row in zip(own.index, own["set"], own["row"], strict=True)
    }


def as_picture(seed: np.ndarray, side: int) -> np.ndarray:
    """A seed (c, h, w) as a picture (side, side, 3) uint8: its first three channels, black at -SPAN, white at SPAN.

    No seed is stretched to its own range: that of a network which predicts no noise is to look as flat as it is.
    """
    shown = (
        np.moveaxis(np.nan_to_num(seed[:3]), 0, -1).repeat(side // seed.shape[1], 0).repeat(side // seed.shape[2], 1)
    )
    return np.rint(255 * np.clip(0.5 + shown / (2 * SPAN), 0, 1)).astype(np.uint8)


def of_pictures(rows: pd.DataFrame) -> Iterator[dict]:
    """Of each set under each caption: how many inversions converged, what all of them cost, and means over those."""
    for (name, caption), group in rows[rows["kind"] == ""].groupby(["set", "caption"], sort=False):
        labels, found = {"set": name, "caption": caption}, group[group["converged"]]
        yield share_of("converged", group["converged"], **labels)
        yield row("residual", group["residual"].to_numpy().max(), n=len(group), **labels)
        yield mean("evaluations", group["evaluations"], **labels)
        for metric in ("psnr", "ceiling", "z", "autocorrelation"):
            yield mean(metric, found[metric], **labels)
        for name in [each for each in found if each.startswith("channel_")]:
            metric, channel = name.rsplit("_", 1)
            yield mean(metric, found[name], channel=channel, **labels)
        # Beside the autoencoder's own of the same pictures: models find the seeds of others.
        yield mean("lost", found["ceiling"] - found["psnr"], **labels)
        yield share_of("detected", found["detected"], **labels)


def mean(metric: str, values: pd.Series, **labels) -> dict:
    """A mean with its interval over these; not a number of none."""
    return mean_of(metric, values.to_numpy(float), **labels)


def of_sets(rows: pd.DataFrame, size: int) -> Iterator[dict]:
    """The NLLs of a set against those of its references, under each caption; of seeds that were found, two at least."""
    for caption, group in rows[rows["kind"] == ""].groupby("caption", sort=False):
        found = {name: part[part["converged"]] for name, part in group.groupby("set", sort=False)}
        for name, others in REFERENCES.items():
            for other in [each for each in others if name in found and each in found]:
                one, two = of_both(found[name], found[other])
                labels = {"set": name, "reference": other, "caption": caption, "n": len(one)}
                for metric, estimate in statistics.compared(nlls(one), nlls(two), size).items():
                    yield row(metric, *estimate, **labels)
        for name, seeds in found.items():
            distance = statistics.bootstrapped(nlls(seeds), lambda some: statistics.wasserstein_to_normal(some, size))
            yield row("w1", *distance, set=name, caption=caption, n=len(seeds))


def of_both(first: pd.DataFrame, second: pd.DataFrame) -> list[pd.DataFrame]:
    """Rows of the concepts that both have some of: the seeds of one concept say nothing beside those of another."""
    return [one[one["concept"].isin(two["concept"])] for one, two in ((first, second), (second, first))]


def nlls(rows: pd.DataFrame) -> np.ndarray:
    """Of seeds (n,); not numbers of fewer than two, of which there is no distribution."""
    return rows["nll"].to_numpy() if len(rows) > 1 else np.full(2, np.nan)


def of_others(rows: pd.DataFrame, size: int) -> Iterator[dict]:
    """The NLLs of the seeds of queries' other latents against those of R, as `of_sets` has those of E.

    The source takes the supports' own seeds for R here; with one R the ratios of both levels can be compared. Intervals
    are over queries, of those whose seeds were all found; not a number of none.
    """
    labels = {"set": "concept", "reference": "neutral", "caption": "own"}
    plain = rows[(rows["kind"] == "") & (rows["caption"] == labels["caption"]) & rows["converged"]]
    plain = plain[plain["set"] == labels["reference"]]
    for kind in [each for each in LIKELY if (rows["kind"] == each).any()]:
        whole = rows[rows["kind"] == kind].groupby(QUERY).filter(lambda part: part["converged"].all())
        others, reference = of_both(whole, plain)
        queries = [part["nll"] for _, part in others.groupby(QUERY)]
        found = statistics.compared(np.stack(queries), nlls(reference), size) if queries else {}
        for metric in ("w1_ratio", "fitted_ratio"):
            yield row(f"seeds_{metric}", *found.get(metric, [np.nan] * 3), kind=kind, n=len(queries), **labels)


def of_seeds(rows: pd.DataFrame, seeds: np.ndarray) -> Iterator[dict]:
    """Geometry of the seeds (n, c, h, w) of each query's other latents that were found; intervals over queries."""
    images = rows[rows["kind"] != ""]
    found = images[images["converged"]]
    for kind, every in images.groupby("kind", sort=False):
        part = found[found["kind"] == kind]
        yield share_of("seeds_converged", every["converged"], kind=kind)
        for metric in ("psnr", "z"):
            yield mean(f"seeds_{metric}", part.groupby(QUERY)[metric].mean(), kind=kind)
        yield share_of("seeds_detected", part["detected"], kind=kind)
        if kind in OTHERS:
            apart = pd.DataFrame(distances(part, found[found["kind"] == "own"], seeds), columns=DISTANCES)
            for metric in DISTANCES:
                yield mean(f"seeds_{metric}", apart[metric], kind=kind)
    if (images["kind"] == "reencoded").any():
        yield mean("seeds_moved_by_reencoding", moved(found, seeds))


def distances(part: pd.DataFrame, own: pd.DataFrame, seeds: np.ndarray) -> list[tuple[float, ...]]:
    """DISTANCES of each query's seeds: of pairs, and to the query's own. Two seeds and its own are needed."""
    centres = dict(zip(own[QUERY].itertuples(index=False, name=None), own.index, strict=True))
    lines = []
    for query, some in part.groupby(QUERY):
        if len(some) > 1 and query in centres:
            cosine, apart = statistics.pairwise(seeds[some.index])
            turned, to_own = statistics.to_centre(seeds[some.index], seeds[centres[query]])
            lines.append((cosine.mean(), apart.mean(), to_own.mean(), statistics.variation(to_own), turned.mean()))
    return lines


def moved(found: pd.DataFrame, seeds: np.ndarray) -> pd.Series:
    """How far, by query, the distant latents' seeds are from those of the same latents decoded and encoded again."""
    places = found.reset_index().pivot(index=[*QUERY, "support"], columns="kind", values="index")
    both = places.reindex(columns=["distant", "reencoded"]).dropna().astype(int)
    gaps = [np.linalg.norm(seeds[one].astype(float) - seeds[two]) for one, two in both.to_numpy()]
    return pd.Series(gaps, both.index, dtype=float).groupby(QUERY).mean()


if __name__ == "__main__":
    step(audit)
