"""log p of pictures beside their seeds' likelihood: what each says of the concept, and what the words add."""

import pandas as pd

from palimpsest.memory.names import name_of
from palimpsest.memory.tables._rows import counted
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Estimate, Format, Table

MEASUREMENTS = ("likelihood",)
PARAMS = {"models": None, "concepts": None, "oracles": None, "likelihood": None}
OPTIONAL = ("log_p_beyond",)  # of an oracle

SETS = {"concept": "E", "neutral": "R"}
ALL = "all"
NOTHING = Estimate(float("nan"))


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: concepts, each under the base and under its oracle; then all together."""
    rows = []
    for model in params["models"]:
        oracles = params["oracles"][model]
        for concept in (*params["concepts"], ALL):
            known = oracles if concept == ALL else concept in oracles
            for method in ("pretrained", *(["oracle"] if known else [])):
                here = lookup.of(model=model, concept=concept, method=method)
                of = oracles if (method, concept) == ("oracle", ALL) else [concept]  # its all are those that it lacks
                named = {("", "Concept"): ", ".join(map(name_of, of)), ("", "Network"): name_of(method)}
                rows.append({**named, **cells(here, known)})
    frame = pd.DataFrame(rows)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    shape, plain = params["likelihood"], Format(0, interval=False)
    errors = [lookup.rows("log_p_error", model=model, caption="own")["value"].mean() for model in params["models"]]
    return Table(
        frame,
        caption="Likelihood proper: log p of pictures of the concept (E) and of others (R) by the probability-flow "
        "ODE, and what the norm of their seeds says of it.",
        label="tab:memory-likelihood",
        formats={
            **{head: plain for head in ("E", "R")},
            "by log p": Format(2, interval=False),
            "by seed": Format(2, interval=False),
            "rank": Format(2),
            "to E": Format(0),
            "to R": plain,
            "of E": Format(0),
            "of R": Format(0),
        },
        wide=True,
        notes="log p in nats of the latents at the noise at which the sampler ends, under the picture’s own caption; "
        "less likely: the chance that a picture of E is less likely than one of R, by log p and by its seed; rank: the "
        "rank correlation of −log p and the seed’s NLL (of all: within concepts and sets); words: how much the own "
        "caption adds to log p over the empty one; beyond: by how much the pretrained network has more log p than the "
        f"oracle. {counted(lookup.rows('log_p', caption='own'))} pictures of each set and concept, {shape['steps']} "
        f"steps of Heun’s method, {shape['probes']} probes of the trace, which leave an error of {errors[0]:.0f} nats "
        "in each log p. 95 % intervals over pictures, bootstrap for ranks, t for means.",
    )


def cells(here: Lookup, with_oracle: bool) -> dict[tuple[str, str], Estimate]:
    """What is measured of one concept under one network."""
    found, own = {}, here.of(caption="own")
    single = here.labels["concept"] != ALL
    for name, called in SETS.items():
        found["log p", called] = own.get("log_p", set=name) if single else NOTHING
    for by, called in (("log_p", "by log p"), ("seed", "by seed")):
        found["less likely", called] = own.get("likelihood_auc", by=by) if single else NOTHING
    found["", "rank"] = own.get("log_p_spearman")
    for name, called in SETS.items():
        found["words add", f"to {called}"] = here.get("log_p_gain", set=name)
    base = with_oracle and here.labels["method"] == "pretrained"
    for name, called in SETS.items():
        found["beyond oracle", f"of {called}"] = own.get("log_p_beyond", set=name) if base else NOTHING
    return found
