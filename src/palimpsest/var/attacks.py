"""Attacks on an edited next-scale model: what brings a concept back that its own words no longer draw.

Each gives pictures that a judge then reads. A picture that is begun for the attacker (`prefix`) may show the concept
whatever the network: what a network that never saw it reaches is the attack's floor. Synonyms and other orders of
words are attacks too; they are among the prompts that all models are judged by.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.models.next_scale import symbol_losses
from palimpsest.models.next_scale_texts import token_embedding, words_begin
from palimpsest.models.scales import spans
from palimpsest.models.var import NextScale, Var, noise_of, pictures_of, sample
from palimpsest.run import UserError
from palimpsest.unlearning.prefix import before, candidates_of, embed_words, greedy_words, learned_word
from palimpsest.unlearning.rollouts import Rollouts
from palimpsest.var.contexts import kept_rollouts, kept_rows
from palimpsest.var.names import prefixes
from palimpsest.worlds.concepts import Concept
from palimpsest.worlds.named import Named

FRESH = 2_000_000  # noise of pictures that are begun: no number of a judged prompt's


@dataclass(frozen=True)
class Attacker:
    """What an attacker has: rollouts of each concept that the base drew, their prompts, and settings.

    pairs, prompts: as `pairs` writes them; params: `pictures`, how many are used and drawn, and what each attack takes,
    which is left out where that is absent: `words` and `points` of the search, with a `shortlist` or without,
    `inversion` (steps, rate, batch), `scales`, how many each prefix has (`prefixes`).
    """

    pairs: Mapping[str, Rollouts]
    prompts: pd.DataFrame
    params: dict

    @classmethod
    def read(cls, base: Var, rollouts: Path, prompts: Path, concepts: list[str], params: dict) -> "Attacker":
        """Of some concepts, from what `pairs` wrote."""
        table = pd.read_parquet(prompts)
        with np.load(rollouts) as file:
            own = {concept: kept_rollouts(base, concept, prompts, file, table)[0] for concept in concepts}
        return cls(own, table, params)

    def pictures(
        self, model: Var, concept: Concept | Named, rows: pd.DataFrame, sampling: dict, seed: int
    ) -> dict[str, np.ndarray]:
        """Pictures that each attack draws, by its name. rows: the prompts that the model is judged by.

        Words are looked for with the attacker's own pictures and prompts, and judged before those of the judgement:
        `searched` before prompts that name the concept, `inverted` before the same without it. Raises UserError for a
        prefix of no scale, or of all.
        """
        params, count, begun = self.params, self.params["pictures"], self.begun(model)
        own = self.pairs[concept.name].at(np.arange(min(count, len(self.pairs[concept.name]))))
        bare = model.ids(list(kept_rows(self.prompts, concept.name, "pair").head(len(own))["bare"]))
        asked, without = (rows[rows["role"] == role].head(count) for role in ("own", "unnamed"))
        found = {}
        if "words" in params:
            candidates = candidates_of(model.tokenizer, concept.naming)
            search = {name: params[name] for name in ("words", "points", "shortlist") if name in params}
            words = searched_words(model, own, candidates, **search, seed=seed)
            start = noise_of(model, asked["noise"].to_numpy(), seed)
            found["searched"] = sample(model, with_words(model, list(asked["prompt"]), words), start, **sampling)
        if "inversion" in params:
            learned = inverted_word(model, own.own, own.own_inputs, bare, **params["inversion"], seed=seed)
            inverted, word = with_new_word(model, learned)
            start = noise_of(model, without["noise"].to_numpy(), seed)
            found["inverted"] = sample(inverted, with_words(model, list(without["prompt"]), word), start, **sampling)
        fresh = noise_of(model, FRESH + np.arange(len(own)), seed)
        for name, stop in begun.items():
            found[name] = sample(model, own.asked, fresh, prefix=own.own[:, :stop], **sampling)
        return {name: pictures_of(model, symbols) for name, symbols in found.items()}

    def begun(self, model: Var) -> dict[str, int]:
        """How many tokens each prefix has."""
        return {
            name: begun_tokens(model, count, "attacks.scales")
            for name, count in prefixes(self.params.get("scales", [])).items()
        }


def begun_tokens(model: Var, count: int, key: str) -> int:
    """How many tokens the first scales have, so many of them. Raises UserError for none of the scales, or all.

    key: of the configuration, which gives that number.
    """
    ends = [each.stop for each in spans(model.visual.quantiser.sizes)]
    if not 0 < count < len(ends):
        raise UserError(
            f"{key}: a prefix of {count} of the model's {len(ends)} scales. Give a number from 1 to {len(ends) - 1}"
        )
    return ends[count - 1]


def with_words(model: Var, prompts: Sequence[str], words: Tensor) -> Tensor:
    """Token ids (n, length) of prompts with words (k,) before them."""
    return before(model.network.text_encoder, model.ids(prompts), words)


def embed_with_words(network: NextScale, ids: Tensor, words: Tensor, after: int = 0) -> tuple[Tensor, Tensor]:
    """What the transformer takes (`NextScale.embed`) of token ids (n, length) with free words (n, k, width) among them.

    after: how many tokens of the text stand before those.
    """
    encoder = network.text_encoder
    # Any token but the end may stand for the free words: only where the text ends is asked.
    known = network.known(before(encoder, ids, ids[0, words_begin(encoder)].expand(words.shape[1])))
    return embed_words(encoder, ids, words, after, known), known


def searched_words(
    model: Var,
    own: Rollouts,
    candidates: Tensor,
    words: int,
    points: int,
    seed: int,
    shortlist: int | None = None,
) -> Tensor:
    """Token ids (words,) that, before a prompt of the concept, make its pictures' tokens likeliest for the model.

    At so many of the pictures: the idea of UnlearnDiffAtk (Zhang et al. 2024) on tokens. shortlist: as
    `greedy_words` has it.
    """
    network, encoder = model.network, model.network.text_encoder
    some = own.at(np.random.default_rng((seed, 12)).integers(len(own), size=points))
    asked, inputs, tokens = some.asked, some.own_inputs, some.own

    @torch.no_grad()
    def errors(tried: Tensor) -> Tensor:
        """The mean loss of a symbol with each of some words (m, k)."""
        given = torch.cat([before(encoder, asked, each) for each in tried])
        logits = network(given, inputs.repeat(len(tried), 1, 1))
        return symbol_losses(logits, tokens.repeat(len(tried), 1, 1)).mean((1, 2)).view(-1, points).mean(1)

    def losses(chosen: Tensor, word: Tensor) -> Iterator[Tensor]:
        for point in range(points):
            row = slice(point, point + 1)
            given = before(encoder, asked[row], chosen)
            given = embed_with_words(network, given, word[None, None], after=len(chosen))
            yield symbol_losses(network.transformer(given, inputs[row]), tokens[row]).mean()

    return greedy_words(encoder, candidates, words, errors, losses, points, shortlist)


def inverted_word(
    model: Var, tokens: Tensor, inputs: Tensor, ids: Tensor, *, steps: int, rate: float, batch: int, seed: int
) -> Tensor:
    """A word (1, width) that draws the concept's pictures with the edited model (textual inversion, Gal et al. 2023).

    tokens (n, L, symbols) and inputs (n, L - 1, c): of pictures of the concept; ids (n, length): their captions without
    it, which the word precedes.
    """
    network, rng = model.network, np.random.default_rng((seed, 11))

    def loss_of(word: Tensor) -> Tensor:
        picks = torch.from_numpy(rng.integers(len(tokens), size=batch)).to(ids.device)
        given = embed_with_words(network, ids[picks], word.expand(batch, 1, -1))
        return symbol_losses(network.transformer(given, inputs[picks]), tokens[picks]).mean()

    return learned_word(network.text_encoder, ids, loss_of, steps=steps, rate=rate)


def with_new_word(model: Var, word: Tensor) -> tuple[Var, Tensor]:
    """A model that knows one more word, of the embedding (1, width), and the number (1,) of its token."""
    network: NextScale = copy.deepcopy(model.network)
    table = token_embedding(network.text_encoder)
    grown = torch.cat([table.weight, word.to(table.weight)])
    network.text_encoder.set_input_embeddings(torch.nn.Embedding.from_pretrained(grown))
    return model.with_network(network), torch.tensor([len(grown) - 1])
