"""Attacks on an edited model: what brings a concept back that its own words no longer draw.

Each gives the latents of pictures (n, c, h, w) that a judge then reads. What an attack reaches with a network that
never saw the concept is its floor: pictures that hold the concept already (`noised`, `completed`) may show it whatever
the network.
"""

import numpy as np
import torch
from torch import Tensor

from palimpsest.models.forward_process import add_noise
from palimpsest.models.text_diffusion import TextDiffusion, guided, sampler_of
from palimpsest.unlearning.prefix import embed_words


@torch.inference_mode()
def denoised(
    model: TextDiffusion,
    noisy: Tensor,
    embeddings: Tensor,
    *,
    steps: int,
    guidance: float,
    first: int = 0,
    known: tuple[Tensor, Tensor, Tensor] | None = None,
) -> Tensor:
    """Latents from noisy ones (n, c, h, w) at the sampler's `first` step, under embeddings (n, length, width).

    known: clean latents, noise and a mask (h, w) of the cells that stay as they are, noised as far as each step asks.
    """
    sampler, none = sampler_of(model, steps), model.network.embed(model.ids([""]))
    for place, timestep in enumerate(sampler.timesteps[first:], start=first):
        predicted = guided(model.network, noisy, timestep, embeddings, none, guidance)
        noisy = sampler.step(predicted, timestep, noisy, return_dict=False)[0]
        if known is not None:
            clean, noise, mask = known
            here = clean
            if place + 1 < len(sampler.timesteps):
                times = sampler.timesteps[place + 1].repeat(len(clean))
                here = add_noise(clean, noise, model.alphas_cumprod, times)
            noisy = torch.where(mask, here, noisy)
    return noisy


def noised(
    model: TextDiffusion, latents: Tensor, noise: Tensor, ids: Tensor, *, steps: int, guidance: float, strength: float
) -> Tensor:
    """Pictures of the concept noised and drawn on (SDEdit, Meng et al. 2022); strength: the share of the steps."""
    sampler = sampler_of(model, steps)
    first = min(round((1 - strength) * steps), steps - 1)
    times = sampler.timesteps[first].repeat(len(latents))
    start = add_noise(latents, noise, model.alphas_cumprod, times)
    return denoised(model, start, model.network.embed(ids), steps=steps, guidance=guidance, first=first)


def completed(
    model: TextDiffusion, latents: Tensor, noise: Tensor, ids: Tensor, *, steps: int, guidance: float
) -> Tensor:
    """The right half of pictures of the concept drawn anew, the left half given (Lugmayr et al. 2022, one pass)."""
    mask = torch.zeros(latents.shape[2:], dtype=torch.bool, device=latents.device)
    mask[:, : latents.shape[3] // 2] = True
    known = (latents, noise, mask)
    return denoised(model, noise, model.network.embed(ids), steps=steps, guidance=guidance, known=known)


def inverted_word(
    model: TextDiffusion, latents: Tensor, ids: Tensor, *, steps: int, rate: float, batch: int, seed: int
) -> Tensor:
    """A word (1, width) that draws the concept's pictures with the edited model (textual inversion, Gal et al. 2023).

    latents (n, c, h, w): pictures of the concept; ids (n, length): their captions without it, which the word precedes.
    """
    network, alphas = model.network, model.alphas_cumprod
    table = network.text_encoder.get_input_embeddings().weight
    rng = np.random.default_rng((seed, 11))
    word = torch.nn.Parameter(table[ids[0, 1]].detach().clone()[None])  # as a word of the first caption
    optimiser = torch.optim.Adam([word], rate)
    for _ in range(steps):
        picks = torch.from_numpy(rng.integers(len(latents), size=batch))
        times = torch.from_numpy(rng.integers(len(alphas), size=batch)).to(latents.device)
        noise = torch.from_numpy(rng.standard_normal((batch, *latents.shape[1:]), np.float32)).to(latents.device)
        embeddings = embed_words(network.text_encoder, ids[picks], word.expand(batch, 1, -1))
        predicted = network(add_noise(latents[picks], noise, alphas, times), times, embeddings)
        optimiser.zero_grad()
        (predicted - noise).square().mean().backward()
        optimiser.step()
    return word.detach()


def with_word(model: TextDiffusion, ids: Tensor, word: Tensor) -> Tensor:
    """Embeddings (n, length, width) of prompts with a free word (1, width) before them."""
    with torch.no_grad():
        return embed_words(model.network.text_encoder, ids, word.expand(len(ids), 1, -1))


@torch.no_grad()
def searched_words(
    model: TextDiffusion, latents: Tensor, ids: Tensor, candidates: Tensor, *, words: int, points: int, seed: int
) -> Tensor:
    """Token ids (words,) that, before a prompt of the concept, let the edited model predict its pictures' noise best.

    Greedy, word by word over all candidates (k,), at so many fixed points: the idea of UnlearnDiffAtk (Zhang et al.
    2024), whose search is by gradients in a vocabulary of fifty thousand.
    """
    rng = np.random.default_rng((seed, 12))
    picks = torch.from_numpy(rng.integers(len(latents), size=points))
    times = torch.from_numpy(rng.integers(len(model.alphas_cumprod), size=points)).to(latents.device)
    noise = torch.from_numpy(rng.standard_normal((points, *latents.shape[1:]), np.float32)).to(latents.device)
    noisy, chosen = add_noise(latents[picks], noise, model.alphas_cumprod, times), ids.new_empty(0)
    for _ in range(words):
        errors = []
        for candidate in candidates:
            given = before(ids[picks], torch.cat([chosen, candidate[None]]))
            errors.append((model.network(noisy, times, given) - noise).square().mean())
        chosen = torch.cat([chosen, candidates[torch.stack(errors).argmin()][None]])
    return chosen


def before(ids: Tensor, words: Tensor) -> Tensor:
    """Prompts (n, length) with words (k,) after their start; what then does not fit is cut off."""
    return torch.cat([ids[:, :1], words.expand(len(ids), -1), ids[:, 1:]], 1)[:, : ids.shape[1]]
