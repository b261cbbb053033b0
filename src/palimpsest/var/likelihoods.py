"""How likely pictures are under edited next-scale models: what such a model remembers can be read off exactly.

A next-scale model gives the probability of a picture's tokens itself, teacher-forced, where a diffusion model has to be
inverted: the counterpart of the seeds' likelihood in the family `memory`. Pictures of a concept and others, drawn by
the base and real ones, are each read with their own caption; those of the concept with the same without it and with
none, too. What a model knows of real ones is also asked of what it draws: it is given their first scales to go on with.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from palimpsest.judges.readers import readers_of
from palimpsest.metrics.intervals import t_interval
from palimpsest.metrics.measurements import row, share_of, write
from palimpsest.models import edits as edited
from palimpsest.models import var, visual_tokenizer
from palimpsest.models.var import Var
from palimpsest.options import Count, Positive
from palimpsest.run import Input, Output, UserError, step, torch_device
from palimpsest.var.attacks import begun_tokens
from palimpsest.var.contexts import kept_rollouts
from palimpsest.var.teacher_forced import said
from palimpsest.worlds.captions import caption
from palimpsest.worlds.concepts import ALL, WITH_ORACLE, Concept
from palimpsest.worlds.named import concept_of

FRESH = 4_000_000  # noise of what a model goes on with: no number of another picture's
DRAWN, OTHERS, REAL, REAL_OTHERS = "concept", "others", "real_concept", "real"


def likelihoods(
    network: Input,
    rollouts: Input,
    prompts: Input,
    networks: Input,
    edits: list[Input],
    classifier: Input,
    detector: Input,
    pictures: Output,
    measurements: Output,
    *,
    model: str,
    concepts: dict,
    count: Positive,
    sampling: dict,
    completed: dict | None = None,
    real_images: Input | None = None,
    real_manifest: Input | None = None,
    judges: list[Input] | None = None,
    judge_roles: list[str] | None = None,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """pictures: a row for each model, picture and caption, with its loss, the mean of its symbols (nats).

    rollouts, prompts: as `pairs` writes them; networks, edits: tables of models, an edited one is asked of its own
    concept; real_images, real_manifest: of scenes. count: pictures of each set. measurements: the mean loss of each set
    and caption (`picture_loss`), what the concept's words add (`words_add`: neutral less own), how much less likely the
    concept's pictures are than others (`excess`), and than under the base (`forgotten`), picture by picture. Intervals
    are 95 % (t), over pictures. completed: of how many real pictures of the concept (`count`) a model is given the
    first `scales` to go on with, under each of some `captions`; measured is how many then show it (`completed`,
    Wilson's interval); sampling: how they are drawn.
    """
    place = torch_device(device)
    base, table = var.open_model(network, place), pd.read_parquet(prompts)
    real = (np.load(real_images, mmap_mode="r"), pd.read_parquet(real_manifest)) if real_images else None
    found, shown = [], []
    readers = readers_of(classifier, detector, judge_roles, judges) if completed else None
    begun = begun_tokens(base, completed["scales"], "likelihood.completed.scales") if completed else 0
    with np.load(rollouts) as drawn:
        sets = {}
        for name, about in concepts.items():
            concept = concept_of(name, about)
            sets[name] = {
                **drawn_sets(base, name, prompts, drawn, table, count),
                **(real_sets(base, concept, *real, count, seed) if real else {}),
            }
    for edit in [each for path in (networks, *edits) for each in edited.read(path)]:
        opened = base.with_network(edited.open_edit(edit, place))
        for name in [edit.target] if edit.target else concepts:
            labels = {"method": edit.method, "setting": edit.setting, "seed": edit.seed, "concept": name}
            found += [
                pd.DataFrame({"loss": losses, "picture": np.arange(len(losses))}).assign(set=key, caption=how, **labels)
                for key, (tokens, inputs, texts) in sets[name].items()
                for how, conditions in texts.items()
                for losses in [losses_of(opened, tokens, inputs, conditions, how == "empty")]
            ]
            if completed and real:
                tokens, _, texts = sets[name][REAL]
                for how in completed["captions"]:
                    made = drawn_on(opened, tokens[: completed["count"]], texts[how], begun, sampling, seed)
                    shows = readers.shows(concept_of(name, concepts[name]), var.pictures_of(opened, made))
                    shown.append(pd.DataFrame({"shows": shows}).assign(caption=how, **labels))
    table = pd.concat(found, ignore_index=True)
    table.to_parquet(pictures, index=False)
    rows = [*measured(table), *(completions(pd.concat(shown, ignore_index=True)) if shown else [])]
    write(measurements, rows, family="var", model=model)
    return {"pictures": len(table)}


def drawn_sets(base: Var, name: str, source: Path, drawn: Mapping, table: pd.DataFrame, count: int) -> dict:
    """Tokens, what they feed the transformer, and captions of what the base drew: of the concept, and of the rest."""
    pairs, others = (
        each.at(np.arange(min(count, len(each)))) for each in kept_rollouts(base, name, source, drawn, table)
    )
    return {
        DRAWN: (pairs.own, pairs.own_inputs, {"own": pairs.asked, "neutral": pairs.safe, "empty": pairs.asked}),
        OTHERS: (others.tokens, others.inputs, {"own": others.asked}),
    }


def real_sets(base: Var, concept: Concept, images: np.ndarray, rows: pd.DataFrame, count: int, seed: int) -> dict:
    """As `drawn_sets`, of real scenes with the concept and without."""
    found, rng = {}, np.random.default_rng((seed, 21))
    for key, wanted in ((REAL, concept.shown_by(rows)), (REAL_OTHERS, ~concept.shown_by(rows))):
        places = np.sort(rng.permutation(np.flatnonzero(wanted))[:count])
        if len(places) < 2:
            raise UserError(
                f"concept {concept.name}: {len(places)} pictures of the set {key}, two are needed. Name a larger "
                "set as var.real"
            )
        picked = rows.iloc[places]
        both = (picked, concept.without(picked))
        own, neutral = (base.ids([caption(each) for each in some.to_dict("records")]) for some in both)
        features = visual_tokenizer.encode(base.visual, images[places])
        read = base.visual.quantiser.quantise(features.to(own.device))
        texts = {"own": own} | ({"neutral": neutral, "empty": own} if key == REAL else {})
        found[key] = (read.symbols, read.inputs, texts)
    return found


def drawn_on(model: Var, tokens: Tensor, conditions: Tensor, begun: int, sampling: dict, seed: int) -> Tensor:
    """Tokens (n, L, symbols) that a model draws, given so many of pictures' own, under the first n conditions."""
    uniform = var.noise_of(model, FRESH + np.arange(len(tokens)), seed)
    return var.sample(model, conditions[: len(tokens)], uniform, prefix=tokens[:, :begun], **sampling)


def losses_of(model: Var, tokens: Tensor, inputs: Tensor, conditions: Tensor, empty: bool) -> np.ndarray:
    """The loss of pictures of tokens (n, L, symbols), the mean of their symbols in nats (n,)."""
    losses, _ = said(model, conditions, inputs, tokens, empty=empty)
    return losses.double().mean((1, 2)).cpu().numpy()


def measured(table: pd.DataFrame) -> list[dict]:
    """Means over pictures of each concept and of several together, and what two captions, or two sets, differ by."""
    rows, base = [], table[table["method"] == "pretrained"]
    for about, some in together(table):
        before = base[base["concept"].isin(some["concept"])]
        for (key, how), part in some.groupby(["set", "caption"], sort=False):
            rows.append(mean_of("picture_loss", part["loss"], set=key, caption=how, **about))
        for key in (DRAWN, REAL):
            if not (some["set"] == key).any():
                continue
            asked, bare, known = (
                of(each, key, how) for each, how in ((some, "own"), (some, "neutral"), (before, "own"))
            )
            rows.append(mean_of("words_add", bare - asked, set=key, **about))
            rows.append(mean_of("forgotten", asked - known, set=key, **about))
            others = of(some, OTHERS if key == DRAWN else REAL_OTHERS, "own")
            rows.append(row("excess", asked.mean() - others.mean(), set=key, n=len(asked), **about))
    return rows


def completions(table: pd.DataFrame) -> list[dict]:
    """How many of the begun real pictures show the concept, of each concept and of several together, by caption."""
    return [
        share_of("completed", part["shows"].to_numpy(), set=REAL, caption=how, **about)
        for about, some in together(table)
        for how, part in some.groupby("caption", sort=False)
    ]


def together(table: pd.DataFrame) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Labels and rows of each model, on each concept, on all of them, and on those that there is an oracle of."""
    lacked = set(table.loc[table["method"] == "oracle", "concept"])
    for labels, own in table.groupby(["method", "setting", "seed"], sort=False):
        about, concepts = dict(zip(("method", "setting", "seed"), labels, strict=True)), list(own["concept"].unique())
        groups = {name: [name] for name in concepts} | {ALL: concepts}
        groups |= {WITH_ORACLE: known} if (known := [name for name in concepts if name in lacked]) else {}
        for name, members in groups.items():
            yield {**about, "concept": name}, own[own["concept"].isin(members)]


def of(table: pd.DataFrame, key: str, how: str) -> np.ndarray:
    """The losses of a set with a caption, in the order of its concepts and pictures."""
    part = table[(table["set"] == key) & (table["caption"] == how)]
    return part.sort_values(["concept", "picture"], kind="stable")["loss"].to_numpy()


def mean_of(metric: str, values: np.ndarray | pd.Series, **labels) -> dict:
    """A mean over pictures (n,) with its interval."""
    low, high, _ = t_interval(np.asarray(values))
    return row(metric, float(np.mean(values)), low, high, n=len(values), **labels)


if __name__ == "__main__":
    step(likelihoods)
