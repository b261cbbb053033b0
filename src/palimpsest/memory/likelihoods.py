"""log p of pictures under networks that nothing was erased from, beside the likelihood of their seeds.

The seed's norm is no likelihood of the picture: what the flow does to volumes on the way is left out of it. Pictures
that show a concept and pictures that do not are compared under the base, and under the oracle that never saw the
concept; and each under its own caption and under none, which says how much the words tell the network of the picture.
"""

from itertools import product

import numpy as np
import pandas as pd
import torch

from palimpsest.memory import statistics
from palimpsest.memory.ddim import schedule_of
from palimpsest.memory.likelihood import log_likelihood
from palimpsest.memory.predictors import of_text
from palimpsest.metrics.estimates import of_mean, of_pairs, of_sets, spearman
from palimpsest.metrics.measurements import row, write
from palimpsest.models import autoencoder, edit_table, edits, text_diffusion
from palimpsest.models.edit_table import Edit
from palimpsest.options import Count, Positive
from palimpsest.run import Input, Output, UserError, step, torch_device

SETS = ("concept", "neutral")
CAPTIONS = ("own", "empty")
PRETRAINED, ORACLE = "pretrained", "oracle"
ALL = "all"  # the concept of measurements over several together
KEYS = ["set", "picture"]


def likelihoods(
    images: Input,
    manifest: Input,
    networks: Input,
    pictures: Output,
    measurements: Output,
    *,
    model: str,
    count: Positive,
    steps: Positive,
    probes: Positive,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """images (n, H, W, 3) and manifest: what `memory.sets` collects; networks: a table of edited models.

    Of each concept `count` pictures of either set; the base is asked of all concepts, an oracle of its own. pictures: a
    row for each network, picture and caption, with log p and its standard error, which is that of `probes`, and NLL and
    z of the seed, in nats. log p is the density at the noise at which the sampler ends, at so many of its steps.
    """
    if probes < 2:
        raise UserError("probes is 1: their spread is the error of log p. Give two at least")
    place, shown, table = torch_device(device), np.load(images, mmap_mode="r"), pd.read_parquet(manifest)
    found = []
    for edit, concept in asked_of(edit_table.read(networks), list(dict.fromkeys(table["concept"]))):
        network = edits.open_edit(edit, place)
        opened = text_diffusion.open_model(edit.base_path, place).with_network(network)
        part = table[(table["concept"] == concept) & table["set"].isin(SETS) & (table["picture"] < count)]
        latents, _ = autoencoder.encode(opened.vae, shown[part.index])
        for caption in CAPTIONS:
            prompts = list(part["own"]) if caption == "own" else [""] * len(part)
            values = of_latents(opened, latents.clone(), prompts, steps, probes, seed)
            labels = {"method": edit.method, "concept": concept, "caption": caption}
            found.append(part[KEYS].reset_index(drop=True).assign(**labels, **values))
    rows = pd.concat(found, ignore_index=True)
    rows.to_parquet(pictures, index=False)
    write(measurements, measured(rows, seed), family="memory", model=model, seed=seed)
    return {"pictures": len(rows), "largest_error": float(rows["error"].max())}


def asked_of(listed: list[Edit], concepts: list[str]) -> list[tuple[Edit, str]]:
    """Which network is asked of which concept: the base of all, an oracle of the one that it lacks, or of all."""
    rows = [edit for edit in listed if edit.method in (PRETRAINED, ORACLE)]
    return [(edit, concept) for edit in rows for concept in concepts if edit.target in ("", concept)]


def of_latents(
    model: text_diffusion.TextDiffusion, latents: torch.Tensor, prompts: list[str], steps: int, probes: int, seed: int
) -> dict[str, np.ndarray]:
    """log_p, its error, and the NLL and z of the seed (n,) of latents (n, c, h, w) under prompts."""
    told, ids = schedule_of(text_diffusion.sampler_of(model, steps)), model.ids(prompts)
    batch = autoencoder.at_once(autoencoder.scale_of(model.vae) * latents.shape[2], gradient=True)
    told |= {"probes": probes, "seed": seed}
    parts = [
        log_likelihood(of_text(model, ids[some]), latents[some].to(ids.device), **told, first=int(some[0]))
        for some in torch.arange(len(latents)).split(batch)
    ]
    seeds = torch.cat([part.seeds for part in parts]).cpu().numpy()
    return {
        "log_p": torch.cat([part.values for part in parts]).double().cpu().numpy(),
        "error": torch.cat([part.errors for part in parts]).double().cpu().numpy(),
        "nll": statistics.nll(seeds),
        "z": statistics.z_score(seeds),
    }


def measured(rows: pd.DataFrame, seed: int) -> list[dict]:
    """Everything that is said of the pictures' rows; intervals over pictures."""
    found = []
    for (method, concept, caption), part in rows.groupby(["method", "concept", "caption"], sort=False):
        labels = {"method": method, "concept": concept, "caption": caption}
        found += of_network(part, seed, labels)
    for (method, caption), part in rows.groupby(["method", "caption"], sort=False):
        # Ranks within a concept and a set: what differs between them is no relation of both numbers.
        within = part.assign(unlikely=-part["log_p"])
        ranks = within.groupby(["concept", "set"])[["unlikely", "nll"]].rank(pct=True).to_numpy().T
        found.append(
            row(
                "log_p_spearman",
                *of_pairs(*ranks, spearman, seed),
                n=len(part),
                method=method,
                concept=ALL,
                caption=caption,
            )
        )
    wide = rows.pivot(index=[*KEYS, "concept"], columns=["method", "caption"], values="log_p")
    concepts = list(dict.fromkeys(rows["concept"]))
    for name, kind in product(SETS, (*concepts, ALL)):
        part = wide[wide.index.get_level_values("set") == name]
        part = part if kind == ALL else part[part.index.get_level_values("concept") == kind]
        found += of_words(part, {"set": name, "concept": kind})
    return found


def of_network(part: pd.DataFrame, seed: int, labels: dict) -> list[dict]:
    """Of the pictures of one concept, under one network and caption: means, and both sets against each other.

    likelihood_auc: the chance that a picture of the concept is less likely than another, by log p or by its seed.
    """
    found, sets = [], {name: part[part["set"] == name] for name in SETS}
    for name, some in sets.items():
        for metric in ("log_p", "nll", "z"):
            values = some[metric].to_numpy()
            mean = statistics.bootstrapped(values, lambda given: given.mean(-1), seed=seed)
            found.append(row(metric if metric == "log_p" else f"flow_{metric}", *mean, n=len(some), set=name, **labels))
        found.append(row("log_p_error", np.sqrt((some["error"] ** 2).mean()), n=len(some), set=name, **labels))
    for by, sign, metric in (("log_p", -1, "log_p"), ("seed", 1, "nll")):
        erased, others = (sign * sets[name][metric].to_numpy() for name in SETS)
        found.append(row("likelihood_auc", *of_sets(erased, others, seed=seed), n=len(part), by=by, **labels))
    unlikely, seeds = -part["log_p"].to_numpy(), part["nll"].to_numpy()
    found.append(row("log_p_spearman", *of_pairs(unlikely, seeds, spearman, seed), n=len(part), **labels))
    return found


def of_words(wide: pd.DataFrame, labels: dict) -> list[dict]:
    """Of pictures (rows) under networks and captions (columns): what the caption, and having seen the concept, adds.

    log_p_gain: by the own caption, of each network; log_p_beyond: of the base over the oracle, by caption; and of the
    gains. Pictures of concepts without an oracle are left out of the last two.
    """
    found, methods = [], list(dict.fromkeys(method for method, _ in wide.columns))
    gains = pd.DataFrame({method: wide[method, "own"] - wide[method, "empty"] for method in methods})
    for method in methods:
        values = gains[method].dropna().to_numpy()
        if len(values):
            found.append(row("log_p_gain", *of_mean(values), n=len(values), method=method, **labels))
    if ORACLE not in methods:
        return found
    for caption, both in (*((name, wide.xs(name, axis=1, level="caption")) for name in CAPTIONS), ("gain", gains)):
        values = (both[PRETRAINED] - both[ORACLE]).dropna().to_numpy()
        if len(values):
            metric, label = ("log_p_gain_beyond", {}) if caption == "gain" else ("log_p_beyond", {"caption": caption})
            found.append(row(metric, *of_mean(values), n=len(values), method=PRETRAINED, **label, **labels))
    return found


if __name__ == "__main__":
    step(likelihoods)
