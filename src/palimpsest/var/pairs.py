"""Draw what the methods learn from: pairs of prompts with the concept and without it, and prompts of the rest.

The recipe of ECGVF (Fan et al. 2025): prompts from templates, each with the concept and with its anchor; pictures of
both; a judge drops the pairs of which the first picture does not show the concept, or the second still does.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from palimpsest.judges.readers import Judges, readers_of
from palimpsest.metrics.measurements import row, share_of, write
from palimpsest.models import var
from palimpsest.models.var import Var
from palimpsest.models.words import check_words
from palimpsest.options import Count
from palimpsest.run import Input, Output, UserError, step, torch_device
from palimpsest.unlearning.draw_rollouts import rolled_out
from palimpsest.unlearning.rollouts import packed
from palimpsest.var.contexts import KEPT, MISSING, REMAINS
from palimpsest.worlds.concepts import Concept
from palimpsest.worlds.kinds import learned_prompts
from palimpsest.worlds.named import Named, concept_of

OTHERS_SEED = 1_000_000  # noise of the rest: no number of a pair's


def pairs(
    network: Input,
    classifier: Input,
    detector: Input,
    rollouts: Output,
    prompts: Output,
    measurements: Output,
    *,
    model: str,
    concepts: dict,
    counts: dict,
    sampling: dict,
    judges: list[Input] | None = None,
    judge_roles: list[str] | None = None,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """rollouts: as `packed` has them, `<concept>.pairs.<part>` and `<concept>.others.<part>`, in the prompts' order.

    prompts: a row each (concept, role, pair, prompt, anchor, bare, verdict): of role "pair", where the verdict is what
    the judge says, with only those that it keeps in the rollouts; of role "others". pair: the number of the prompt,
    which its rollouts share. measurements: how many rollouts of pairs there were, and the shares of each verdict.
    concepts: a row of the configuration by name; counts: `concept`, how many prompts with it, `rollouts` of each, and
    `others`; `filtered` false: no judge is asked (untrained networks draw nothing), and all are kept. sampling: of the
    pairs; the others are drawn without guidance. Raises UserError for a pair of equal prompts, and where no pair of a
    concept is kept.
    """
    base, readers = var.open_model(network, torch_device(device)), readers_of(classifier, detector, judge_roles, judges)
    every = {name: concept_of(name, each) for name, each in concepts.items()}
    learned = {name: learned_prompts(concept, counts, seed) for name, concept in every.items()}
    for name, prompts_of in learned.items():
        refuse_equal(base, name, *(list(prompts_of[role]["prompt"]) for role in ("concept", "anchor")))
    spelt = {name: words for name, concept in every.items() if (words := check_words(base, concept))}
    arrays, tables, rows = {}, [], []
    for name, concept in every.items():
        with_it, without = learned[name]["concept"], learned[name]["anchor"]
        table = repeated(with_it.assign(anchor=without["prompt"]), counts["rollouts"])
        asked, safe = base.ids(list(table["prompt"])), base.ids(list(table["anchor"]))
        drawn = rolled_out(base, asked, safe, var.noise_of(base, np.arange(len(table)), seed), **sampling)
        both = (var.pictures_of(base, tokens) for tokens in (drawn.own, drawn.tokens))
        verdicts = judged(readers, concept, *both) if counts.get("filtered", True) else np.full(len(table), KEPT)
        kept = np.flatnonzero(verdicts == KEPT)
        refuse_none(name, verdicts, network)
        others = repeated(learned[name]["others"], 1)
        wide = held(base, list(others["prompt"]), seed, {**sampling, "guidance": 1.0})
        for role, each in {"pairs": drawn.at(kept), "others": wide}.items():
            arrays |= {f"{name}.{role}.{part}": values for part, values in packed(each).items()}
        tables += [table.assign(concept=name, role="pair", verdict=verdicts)]
        tables += [others.assign(concept=name, role="others", verdict=KEPT)]
        rows.append(row("pairs", len(table), concept=name))
        for verdict in (KEPT, MISSING, REMAINS):
            rows.append(share_of(f"pairs_{verdict}", verdicts == verdict, concept=name))
    np.savez(rollouts, **arrays)
    columns = ["concept", "role", "pair", "prompt", "anchor", "bare", "verdict"]
    pd.concat(tables, ignore_index=True).reindex(columns=columns).to_parquet(prompts, index=False)
    write(measurements, rows, family="var", model=model)
    return {"spelt_words": spelt, "bytes": sum(each.nbytes for each in arrays.values())}


def repeated(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """All rows so many times, one whole pass after the other; with their number, `pair`."""
    return pd.concat([rows.assign(pair=np.arange(len(rows)))] * count, ignore_index=True)


def judged(readers: Judges, concept: Concept | Named, own: np.ndarray, safe: np.ndarray) -> np.ndarray:
    """What a judge says of each pair of pictures (n, H, W, 3): of the concept's prompt, and of the safe one."""
    shows, still = readers.shows(concept, own), readers.shows(concept, safe)
    return np.where(~shows, MISSING, np.where(still, REMAINS, KEPT))


def refuse_equal(model: Var, name: str, prompts: list[str], anchors: list[str]) -> None:
    """Raise UserError for a prompt that is the same to the model with the anchor in the concept's place."""
    asked, safe = model.ids(prompts), model.ids(anchors)
    same = (asked == safe).reshape(len(prompts), -1).all(1).tolist()
    if any(same):
        prompt, anchor = prompts[same.index(True)], anchors[same.index(True)]
        raise UserError(
            f"concept {name}: the model reads its prompt {prompt!r} and the one without it, {anchor!r}, alike, so that "
            f"nothing could be learned from them. Give another `anchor` (`var.concepts.{name}`)"
        )


def refuse_none(name: str, verdicts: np.ndarray, network: Path) -> None:
    """Raise UserError where the judge keeps no pair."""
    if not (verdicts == KEPT).any():
        counts = {verdict: int((verdicts == verdict).sum()) for verdict in (MISSING, REMAINS)}
        raise UserError(
            f"concept {name}: no pair of {len(verdicts)} is left. Of {counts[MISSING]} the model {network} does not "
            f"draw the concept when it is asked for, of {counts[REMAINS]} it still does when it is not. Give more "
            "pairs (`var.pairs`), another anchor, or a concept that this model draws"
        )


def held(model: Var, prompts: list[str], seed: int, sampling: dict):
    """Rollouts of single prompts."""
    ids, noise = model.ids(prompts), var.noise_of(model, np.arange(len(prompts)) + OTHERS_SEED, seed)
    return rolled_out(model, ids, ids, noise, **sampling)


if __name__ == "__main__":
    step(pairs)
