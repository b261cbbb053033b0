"""Attacks on erased models: each does what it says on a model of which the outcome is known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from palimpsest.erasure import attacks
from palimpsest.models.forward_process import add_noise
from palimpsest.unlearning.prefix import before, candidates_of
from palimpsest.worlds.concepts import Concept, judging_prompts
from test_erasure import CHURCH, SAMPLING, tiny


@pytest.fixture(scope="module")
def model():
    return tiny()


def pictures(model, count: int, seed: int = 0) -> torch.Tensor:
    """Some latents."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, *model.shape)).astype(np.float32))


def test_the_search_finds_the_words_under_which_the_network_knows_the_noise(model):
    candidates = candidates_of(model.tokenizer, {"church", "cathedral"})
    assert torch.equal(
        candidates_of(model.tokenizer, {"the Church", "a cathedral"}),
        candidates_of(model.tokenizer, {"the", "a", "church", "cathedral"}),
    )
    planted = candidates[[5, 2]]

    def knows(noisy, times, ids):
        # Of empty pictures what is noisy is the noise times a known factor; each planted word gives a share of it.
        share = torch.stack([(ids == token).any(1) for token in planted]).float().mean(0)
        return (share / (1 - model.alphas_cumprod[times]).sqrt()).view(-1, 1, 1, 1) * noisy

    knows.text_encoder = model.network.text_encoder
    found = attacks.searched_words(
        SimpleNamespace(network=knows, alphas_cumprod=model.alphas_cumprod),
        torch.zeros(3, *model.shape), model.ids(["a red thing"] * 3), candidates, words=2, points=6, seed=0,
    )  # fmt: skip
    assert sorted(found.tolist()) == sorted(planted.tolist())


class Lookup(torch.nn.Module):
    """A text encoder that only looks tokens up."""

    def __init__(self, tokens: int):
        super().__init__()
        self.table = torch.nn.Embedding(tokens, 4)

    def get_input_embeddings(self) -> torch.nn.Embedding:
        return self.table

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.table(ids),)


@pytest.mark.parametrize("shortlist", [1, 3])
def test_a_shortlist_holds_the_words_that_a_search_of_all_finds_and_only_these_are_tried(model, shortlist):
    candidates, read = candidates_of(model.tokenizer, {"church"}), []
    encoder, worth = Lookup(len(model.tokenizer)), torch.tensor([0.01, -0.02, 0.005, 0.015])

    def knows(noisy, times, given):
        # The more of the noise the more all tokens are worth together, so that the slope tells the best.
        read.append(len(given))
        vectors = given if given.is_floating_point() else encoder.table(given)
        return (vectors @ worth).sum(1).view(-1, 1, 1, 1) * noisy

    knows.text_encoder = encoder
    fake = SimpleNamespace(network=knows, alphas_cumprod=model.alphas_cumprod)
    search = {"words": 2, "points": 3, "seed": 0}
    given = torch.zeros(3, *model.shape), model.ids(["a red thing"] * 3), candidates
    expected = attacks.searched_words(fake, *given, **search)
    read.clear()
    assert torch.equal(attacks.searched_words(fake, *given, **search, shortlist=shortlist), expected)
    assert sum(read) == 2 * (3 + 3 * shortlist)


def test_no_candidate_names_the_concept(model):
    candidates = candidates_of(model.tokenizer, {"church", "cathedral"})
    words = [model.tokenizer.decode([token]).strip() for token in candidates.tolist()]
    assert {"red", "tree", "wearing"} <= set(words) and not {"church", "cathedral"} & set(words)


def test_a_learned_word_lowers_the_error_on_the_pictures_that_it_is_learned_from(model):
    clean, ids = pictures(model, 2), model.ids(["a red thing in the sea", "a blue thing"])
    rng = np.random.default_rng(1)
    picks, times = torch.from_numpy(rng.integers(2, size=256)), torch.from_numpy(rng.integers(1000, size=256))
    noise = torch.from_numpy(rng.standard_normal((256, *model.shape), np.float32))

    def error(steps: int) -> float:
        word = attacks.inverted_word(model, clean, ids, steps=steps, rate=0.05, batch=8, seed=0)
        given = attacks.with_word(model, ids, word)[picks]
        with torch.no_grad():
            noisy = add_noise(clean[picks], noise, model.alphas_cumprod, times)
            return float((model.network(noisy, times, given) - noise).square().mean())

    assert error(30) < error(0) - 1e-4


def test_a_free_word_that_is_a_words_embedding_is_that_word(model):
    ids, (church,) = model.ids(["a red thing", "sea"]), model.tokenizer("church", add_special_tokens=False)["input_ids"]
    word = model.network.text_encoder.get_input_embeddings().weight[[church]].detach()
    named = model.network.embed(before(model.network.text_encoder, ids, torch.tensor([church])))
    torch.testing.assert_close(attacks.with_word(model, ids, word), named)


def test_a_picture_that_is_not_noised_comes_back_and_one_that_is_does_not(model):
    clean, ids = pictures(model, 2), model.ids(["a red church"] * 2)
    draw = {"noise": pictures(model, 2, 1), "ids": ids, "steps": 4, "guidance": 3.0}
    assert torch.equal(attacks.noised(model, clean, **draw, strength=0.0), clean)
    assert not torch.allclose(attacks.noised(model, clean, **draw, strength=0.5), clean, atol=0.1)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_completing_keeps_the_left_part_and_draws_the_rest_anew(model, share):
    clean, ids = pictures(model, 2), model.ids(["a red church"] * 2)
    found = attacks.completed(model, clean, pictures(model, 2, 1), ids, **SAMPLING, given=share)
    end = int(share * clean.shape[3])
    assert torch.equal(found[..., :end], clean[..., :end])
    assert not torch.allclose(found[..., end:], clean[..., end:], atol=0.1)


OF_EACH = {
    "searched": {"words": 1, "points": 1, "shortlist": 2},
    "inverted": {"inversion": {"steps": 1, "rate": 0.1, "batch": 1}},
    "noised": {"strength": 0.5},
    "completed": {"given": 0.5},
}


@pytest.mark.parametrize("absent", [None, *OF_EACH])
def test_every_attack_that_is_asked_for_draws_as_many_pictures_as_it_should(model, absent):
    concept = Concept("church", **CHURCH)
    rows = judging_prompts(concept, dict.fromkeys(("own", "synonym", "template", "unnamed", "neighbour", "rest"), 3), 0)
    own = {"concept": "church", "role": "concept", "prompt": "a red church", "bare": "a red thing"}
    prompts = pd.DataFrame([own] * 4)
    params = {"pictures": 2}
    for name, settings in OF_EACH.items():
        params |= settings if name != absent else {}
    attacker = attacks.Attacker({"church.concept": pictures(model, 4).numpy()}, prompts, params)
    found = attacker.attack(model, concept, rows, SAMPLING, 0)
    assert {name: len(latents) for name, latents in found.items()} == dict.fromkeys(OF_EACH.keys() - {absent}, 2)
