"""Attacks on an edited model: what brings a concept back that its own words no longer draw.

Each gives the latents of pictures (n, c, h, w) that a judge then reads. What an attack reaches with a network that
never saw the concept is its floor: pictures that hold the concept already (`noised`, `completed`) may show it whatever
the network. Synonyms and other orders of words are attacks too; they are among the prompts that all models are judged
by.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.models import autoencoder
from palimpsest.models.forward_process import add_noise
from palimpsest.models.text_diffusion import TextDiffusion, denoised, noise_of, sample, sampler_of
from palimpsest.unlearning.prefix import before, candidates_of, embed_words, greedy_words, learned_word
from palimpsest.worlds.concepts import Concept
from palimpsest.worlds.named import Named

FRESH = 2_000_000  # noise of pictures that are drawn on: no number of a judged prompt's


@dataclass(frozen=True)
class Attacker:
    """What an attacker has: pictures of each concept that the base drew, their prompts, and settings.

    latents, prompts: as `draw` writes them; params: `pictures`, how many are used and drawn, and what each attack
    takes, which is left out where that is absent: `words` and `points` of the search, with a `shortlist` or without,
    `inversion` (steps, rate, batch), `strength` of the noise, `given` of what is completed.
    """

    latents: Mapping[str, np.ndarray]
    prompts: pd.DataFrame
    params: dict

    @classmethod
    def read(cls, base: TextDiffusion, latents: Path, prompts: Path, concepts: list[str], params: dict) -> "Attacker":
        """Of some concepts, from what `draw` wrote."""
        with np.load(latents) as file:
            found = {name: file[name] for name in (f"{concept}.concept" for concept in concepts)}
        return cls(found, pd.read_parquet(prompts), params)

    def pictures(
        self, model: TextDiffusion, concept: Concept | Named, rows: pd.DataFrame, sampling: dict, seed: int
    ) -> dict[str, np.ndarray]:
        """What each attack draws, (n, H, W, 3) uint8."""
        found = self.attack(model, concept, rows, sampling, seed)
        return {name: autoencoder.decode(model.vae, latents) for name, latents in found.items()}

    def attack(
        self, model: TextDiffusion, concept: Concept | Named, rows: pd.DataFrame, sampling: dict, seed: int
    ) -> dict[str, Tensor]:
        """Latents that each attack draws, by its name. rows: the prompts that the model is judged by.

        Words are looked for with the attacker's own pictures and prompts, and judged before those of the judgement:
        `searched` before prompts that name the concept, `inverted` before the same without it.
        """
        params, count = self.params, self.params["pictures"]
        own = self.prompts[(self.prompts["concept"] == concept.name) & (self.prompts["role"] == "concept")].head(count)
        named, bare = model.ids(own["prompt"]), model.ids(own["bare"])
        clean = torch.from_numpy(self.latents[f"{concept.name}.concept"][:count]).to(named.device)
        asked, without = (rows[rows["role"] == role].head(count) for role in ("own", "unnamed"))
        fresh = noise_of(model, FRESH + np.arange(len(clean)), seed).to(clean.device)
        found = {}
        if "words" in params:
            candidates = candidates_of(model.tokenizer, concept.naming)
            search = {name: params[name] for name in ("words", "points", "shortlist") if name in params}
            words = searched_words(model, clean, named, candidates, **search, seed=seed)
            start = noise_of(model, asked["noise"].to_numpy(), seed)
            given = before(model.network.text_encoder, model.ids(asked["prompt"]), words)
            found["searched"] = sample(model, given, start, **sampling)
        if "inversion" in params:
            word = inverted_word(model, clean, bare, **params["inversion"], seed=seed)
            learned = with_word(model, model.ids(without["prompt"]), word)
            start = noise_of(model, without["noise"].to_numpy(), seed)
            found["inverted"] = sample(model, learned, start, **sampling)
        if "strength" in params:
            found["noised"] = noised(model, clean, fresh, named, **sampling, strength=params["strength"]).cpu()
        if "given" in params:
            found["completed"] = completed(model, clean, fresh, named, **sampling, given=params["given"]).cpu()
        return found


def noised_to(model: TextDiffusion, latents: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
    """Latents (n, c, h, w) with the noise of a timestep."""
    return add_noise(latents, noise, model.alphas_cumprod, timestep.repeat(len(latents)).to(latents.device))


def noised(
    model: TextDiffusion, latents: Tensor, noise: Tensor, ids: Tensor, *, steps: int, guidance: float, strength: float
) -> Tensor:
    """Pictures of the concept noised and drawn on (SDEdit, Meng et al. 2022); strength: the share of the steps."""
    first = round((1 - strength) * steps)
    if first == steps:
        return latents
    start = noised_to(model, latents, noise, sampler_of(model, steps).timesteps[first])
    return denoised(model, start, model.network.embed(ids), steps=steps, guidance=guidance, first=first)


def completed(
    model: TextDiffusion, latents: Tensor, noise: Tensor, ids: Tensor, *, steps: int, guidance: float, given: float
) -> Tensor:
    """Pictures of the concept of which a left part is given, and the rest drawn anew (Lugmayr et al. 2022, one pass).

    given: the share of the width.
    """
    mask = torch.zeros(latents.shape[2:], dtype=torch.bool, device=latents.device)
    mask[:, : round(given * latents.shape[3])] = True

    def known_part(found: Tensor, timestep: Tensor | None) -> Tensor:
        """The known cells, noised as far as the next step asks."""
        known = latents if timestep is None else noised_to(model, latents, noise, timestep)
        return torch.where(mask, known, found)

    return denoised(model, noise, model.network.embed(ids), steps=steps, guidance=guidance, after=known_part)


def inverted_word(
    model: TextDiffusion, latents: Tensor, ids: Tensor, *, steps: int, rate: float, batch: int, seed: int
) -> Tensor:
    """A word (1, width) that draws the concept's pictures with the edited model (textual inversion, Gal et al. 2023).

    latents (n, c, h, w): pictures of the concept; ids (n, length): their captions without it, which the word precedes.
    """
    network, alphas, rng = model.network, model.alphas_cumprod, np.random.default_rng((seed, 11))

    def loss_of(word: Tensor) -> Tensor:
        picks = torch.from_numpy(rng.integers(len(latents), size=batch)).to(latents.device)
        times = torch.from_numpy(rng.integers(len(alphas), size=batch)).to(latents.device)
        noise = torch.from_numpy(rng.standard_normal((batch, *latents.shape[1:]), np.float32)).to(latents.device)
        embeddings = embed_words(network.text_encoder, ids[picks], word.expand(batch, 1, -1))
        predicted = network(add_noise(latents[picks], noise, alphas, times), times, embeddings)
        return (predicted - noise).square().mean()

    return learned_word(network.text_encoder, ids, loss_of, steps=steps, rate=rate)


@torch.no_grad()
def with_word(model: TextDiffusion, ids: Tensor, word: Tensor) -> Tensor:
    """Embeddings (n, length, width) of prompts with a free word (1, width) before them."""
    return embed_words(model.network.text_encoder, ids, word.expand(len(ids), 1, -1))


def searched_words(
    model: TextDiffusion,
    latents: Tensor,
    ids: Tensor,
    candidates: Tensor,
    words: int,
    points: int,
    seed: int,
    shortlist: int | None = None,
) -> Tensor:
    """Token ids (words,) that, before a prompt of the concept, let the edited model predict its pictures' noise best.

    At so many fixed points: the idea of UnlearnDiffAtk (Zhang et al. 2024). shortlist: as `greedy_words` has it.
    """
    network, alphas, encoder = model.network, model.alphas_cumprod, model.network.text_encoder
    rng = np.random.default_rng((seed, 12))
    picks = torch.from_numpy(rng.integers(len(latents), size=points)).to(latents.device)
    times = torch.from_numpy(rng.integers(len(alphas), size=points)).to(latents.device)
    noise = torch.from_numpy(rng.standard_normal((points, *latents.shape[1:]), np.float32)).to(latents.device)
    noisy = add_noise(latents[picks], noise, alphas, times)

    @torch.no_grad()
    def errors(tried: Tensor) -> Tensor:
        """The mean squared error with each of some words (m, k)."""
        given = torch.cat([before(encoder, ids[picks], each) for each in tried])
        found = network(noisy.repeat(len(tried), 1, 1, 1), times.repeat(len(tried)), given)
        return (found - noise.repeat(len(tried), 1, 1, 1)).square().flatten(1).mean(1).view(-1, points).mean(1)

    def losses(chosen: Tensor, word: Tensor) -> Iterator[Tensor]:
        for point in range(points):
            given = before(encoder, ids[picks[point : point + 1]], chosen)
            embeddings = embed_words(encoder, given, word[None, None], after=len(chosen))
            found = network(noisy[point : point + 1], times[point : point + 1], embeddings)
            yield (found - noise[point : point + 1]).square().mean()

    return greedy_words(encoder, candidates, words, errors, losses, points, shortlist)
