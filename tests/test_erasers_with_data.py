"""Erasers that learn from pictures, or against an attack: formulas, and what is left alone, on tiny networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from palimpsest.models.text_diffusion import Conditioned
from palimpsest.run import UserError
from palimpsest.unlearning import engine, saliency
from palimpsest.unlearning.context import Conditioning, Context, Examples
from palimpsest.unlearning.engine import FlatParameters, Step, train
from palimpsest.unlearning.losses import squared_errors
from palimpsest.unlearning.methods import advunlearn, erasediff, salun, scissorhands
from palimpsest.unlearning.methods.esd import away_from_concept
from palimpsest.unlearning.pairs import anchor_conditions
from palimpsest.unlearning.prefix import embed_words
from palimpsest.unlearning.selectors import select
from palimpsest.unlearning.streams import Stream

START, END, LENGTH, TIMES = 18, 19, 7, 40
SCHEDULE = torch.cumprod(1 - torch.linspace(1e-3, 0.12, TIMES), 0)


def prompts(*words: tuple[int, ...]) -> torch.Tensor:
    """Token ids as CLIP has them: the start, the words, and the end as often as it takes."""
    rows = [[START, *each, *[END] * LENGTH][:LENGTH] for each in words]
    return torch.tensor(rows)


CONCEPT, ANCHORS = prompts((1, 5), (2, 5), (3, 5)), prompts((1, 6), (2, 6), (3,))
OTHERS, NONE = prompts((1, 7), (2, 8), (3, 9), (4, 7)), prompts(())[0]


def network(seed: int = 0) -> Conditioned:
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=4,
        in_channels=2,
        out_channels=2,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        block_out_channels=(8,),
        layers_per_block=1,
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=2,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=20,
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=LENGTH,
            bos_token_id=START,
            eos_token_id=END,
        )
    )
    for name, parameter in text.named_parameters():  # a fresh encoder hardly tells one prompt from another
        if "embedding" in name:
            torch.nn.init.normal_(parameter)
    return Conditioned(unet, text).eval().requires_grad_(False)


def latents(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 2, 4, 4, generator=torch.Generator().manual_seed(seed))


def context(**changes) -> Context:
    parts = {
        "conditioning": Conditioning(CONCEPT, NONE, OTHERS, ANCHORS),
        "frozen": network(),
        "alphas_cumprod": SCHEDULE,
        "seed": 3,
        "bounds": None,
    }
    target = Examples(latents(5, 1), CONCEPT[[2, 0, 1, 1, 0]])
    remember = Examples(latents(8, 2), OTHERS[[0, 1, 2, 3, 3, 2, 1, 0]])
    return Context("toy", target, remember, TIMES, **{**parts, **changes})


def step_of(which: str, student: Conditioned | None = None, size: int = 4, micro_batch: int = 4, index: int = 0):
    """A step, and the names of what is trained."""
    given, student = context(), student or network(1)
    names = select(student, which)
    times = given.random(Stream.TIMES, index).integers(TIMES, size=(2, size))
    places, chosen = np.arange(size), np.arange(size) % len(given.target)
    step = Step(
        student,
        FlatParameters(student),
        given,
        remember=engine.draw(given.remember, np.arange(size), times[0], places, given.number(Stream.REMEMBER, index)),
        forget=engine.draw(given.target, chosen, times[1], places, given.number(Stream.FORGET, index)),
        targets=chosen,
        places=places,
        size=size,
        micro_batch=micro_batch,
        index=index,
    )
    return step, names


def by_autograd(step: Step, loss: torch.Tensor) -> torch.Tensor:
    """The flat gradient of a loss with respect to what is trained."""
    trained = [parameter for parameter in step.network.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(loss, trained, allow_unused=True)
    pairs = zip(found, trained, strict=True)
    return torch.cat([(torch.zeros_like(one) if each is None else each).reshape(-1) for each, one in pairs])


def losses(step: Step) -> tuple[torch.Tensor, torch.Tensor]:
    """The forget and the remember loss of the methods that learn from pictures, written out."""
    forget, remember = step.forget, step.remember
    noisy = step.noisy(forget)
    rows = [CONCEPT.tolist().index(each) for each in forget.conditions.tolist()]
    with torch.no_grad():
        wanted = step.network(noisy, forget.timesteps, ANCHORS[rows])
    lost = (step.network(noisy, forget.timesteps, forget.conditions) - wanted).square().mean()
    predicted = step.network(step.noisy(remember), remember.timesteps, remember.conditions)
    return lost, (predicted - remember.noise).square().mean()


def close(one: torch.Tensor, two: torch.Tensor) -> bool:
    return torch.allclose(one, two, rtol=1e-3, atol=1e-5 * float(two.abs().max())) and float(two.abs().max()) > 0


# What is trained


def test_a_selection_is_exactly_the_parameters_that_its_name_says():
    student = network()
    names = [name for name, _ in student.named_parameters()]
    block = "unet.mid_block.attentions.0.transformer_blocks.0."
    within = lambda part: {name for name in names if name.startswith("unet.") and part in name.split(".")}  # noqa: E731
    unet = {name for name in names if name.startswith("unet.")}
    wanted = {
        "cross_attention_kv": {f"{each}.weight" for each in ("to_k", "to_v")},
        "cross_attention": {"to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight", "to_out.0.bias"},
    }
    for which, ends in wanted.items():
        found = set(select(student, which))
        assert {name for name in found if name.startswith(block)} == {f"{block}attn2.{end}" for end in ends}
        assert {name.split("attn2.")[1] for name in found} == ends and found <= within("attn2")
    assert set(select(student, "cross_attention")) == within("attn2")
    assert set(select(student, "self_attention")) == within("attn1") and within("attn1")
    assert set(select(student, "not_cross_attention")) == unet - within("attn2")
    assert set(select(student, "full")) == unet
    assert {name for name, each in student.named_parameters() if each.requires_grad} == unet
    text = select(student, "text_encoder")
    assert {f"text_encoder.embeddings.{each}_embedding.weight" for each in ("token", "position")} <= set(text)
    assert text == [name for name, each in student.named_parameters() if each.requires_grad]
    assert set(text) == set(names) - unet


def test_a_selection_of_nothing_is_an_error():
    student = network()
    student.unet = torch.nn.Linear(2, 2)
    with pytest.raises(UserError, match="no parameters that are self_attention"):
        select(student, "self_attention")


# Prompts and batches


def test_a_prompt_becomes_its_own_rows_anchor_or_is_an_error_that_says_so():
    step, _ = step_of("full")
    assert step.forget.conditions.tolist() == CONCEPT[[2, 0, 1, 1]].tolist()
    assert anchor_conditions(step).tolist() == ANCHORS[[2, 0, 1, 1]].tolist()
    for conditions, named in ((OTHERS, "is none of the concept's"), (None, "have no prompts")):
        with pytest.raises(ValueError, match=named):
            anchor_conditions(replace(step, forget=replace(step.forget, conditions=conditions)))
    bare = replace(step.context, conditioning=Conditioning(CONCEPT, NONE, OTHERS))
    with pytest.raises(ValueError, match="no anchors"):
        anchor_conditions(replace(step, context=bare))


def test_weights_are_judged_by_every_target_once_or_by_so_many_batches():
    step, _ = step_of("full")
    seen = torch.cat([batch.images for batch in saliency.forget_batches(step, None)])
    assert len(seen) == 8 and all((seen == each).flatten(1).all(1).any() for each in step.context.target.images)
    batches = list(saliency.forget_batches(step, 3))
    assert len(batches) == 3 and not torch.equal(batches[0].noise, batches[1].noise)


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.25, 2), (0.5, 4), (1.0, 8)])
def test_the_top_share_is_that_of_the_greatest(share, count):
    values = torch.tensor([3.0, 0.0, 9.0, 1.0, 4.0, 2.0, 7.0, 0.5])
    chosen = saliency.top(values, share)
    assert chosen.sum() == count and (count in (0, 8) or values[chosen].min() > values[~chosen].max())
    assert saliency.top(torch.tensor([0.0, 0.0, 0.0, 1.0]), 0.75).tolist() == [False, False, False, True]


# SalUn


def test_saluns_mask_is_made_of_the_summed_gradients_of_the_guided_prediction():
    step, _ = step_of("full", micro_batch=3)
    total = 0
    for batch in saliency.forget_batches(step, 2):
        noisy = step.noisy(batch)
        with_it = step.network(noisy, batch.timesteps, batch.conditions)
        without = step.network(noisy, batch.timesteps, NONE.expand(4, -1))
        total = total - by_autograd(step, (batch.noise - (8.5 * with_it - 7.5 * without)).square().mean())
    assert close(salun.summed_gradient(step, 7.5, 2), total)
    salun.direction(step, share=0.3, batches=2)
    mask, size = step.memory["mask"], total.abs()
    assert mask.sum() == round(0.3 * len(total)) and size[mask].min() > 0.99 * size[~mask].max()


@pytest.mark.parametrize("alpha", [0.1, 2.0])
def test_saluns_gradient_is_that_of_its_loss_under_the_mask(alpha):
    step, _ = step_of("cross_attention", micro_batch=3)
    found = salun.direction(step, alpha=alpha)
    lost, kept = losses(step)
    assert close(found, by_autograd(step, lost + alpha * kept) * step.memory["mask"])
    mask = step.memory["mask"]
    salun.direction(replace(step, index=1))
    assert step.memory["mask"] is mask


def test_what_the_mask_leaves_out_stays_the_same_to_the_last_bit():
    student = network(1)
    select(student, "full")
    before = FlatParameters(student).values.clone()
    salun_steps = {"steps": 4, "learning_rate": 1e-2, "batch": 4, "settings": {"share": 0.4}}
    train(salun.direction, student, context(), **salun_steps)
    after = FlatParameters(student).values
    changed = (after != before).float().mean().item()
    assert 0.35 < changed <= 0.4 + 1e-3


# EraseDiff


def test_erasediffs_forget_loss_falls_at_least_so_fast():
    step, _ = step_of("full")
    lost, kept = losses(step)
    forget, remember = by_autograd(step, lost), by_autograd(step, kept)
    for eta in (0.0, 0.1, 50.0):
        update = erasediff.direction(step, eta=eta)
        rate, least = float(update @ forget), eta * float(forget @ forget)
        weight = max(0.0, eta - float(remember @ forget) / float(forget @ forget))
        assert rate >= least - 1e-4 * abs(least) - 1e-6
        assert close(update, remember + weight * forget)
        assert step.seen["penalty"] == pytest.approx(weight, rel=1e-3, abs=1e-6)
    assert weight > 0  # the last one pushes


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_erasediffs_constant_penalty_is_a_sum_of_losses(weight):
    step, _ = step_of("full", micro_batch=3)
    lost, kept = losses(step)
    settings = {} if weight == 1 else {"weight": weight}
    assert close(erasediff.direction(step, penalty="constant", **settings), by_autograd(step, kept + weight * lost))


# Scissorhands


@pytest.mark.parametrize("where", ["anywhere", "self_attention"])
def test_scissorhands_starts_the_most_salient_weights_anew_and_no_others(where):
    step, names = step_of("full")
    before = step.parameters.values.mul_(1.1).clone()  # so that no factor of one starts as one again
    total = torch.zeros_like(before)
    for batch in saliency.forget_batches(step, 2):
        error = step.network(step.noisy(batch), batch.timesteps, batch.conditions) - batch.noise
        total += (by_autograd(step, error.square().mean()) * before).abs()
    chosen = torch.zeros_like(before, dtype=torch.bool)
    chosen[total.topk(round(0.2 * len(before))).indices] = True
    inside = torch.zeros_like(before, dtype=torch.bool)
    for name, part in zip(names, step.parameters.parts, strict=True):
        inside[part] = "attn1" in name
    if where == "self_attention":
        chosen &= inside
    found = scissorhands.restart(step, 0.2, 2, where)
    changed = step.parameters.values != before
    # The saliency's last digits decide at the threshold.
    assert abs(found - int(chosen.sum())) <= 2 and found > 100
    assert (changed & ~chosen).sum() <= 2 and (where == "anywhere" or not changed[~inside].any())
    assert (~changed & chosen).sum() <= 2
    for name, part in zip(names, step.parameters.parts, strict=True):
        new = step.parameters.values[part][changed[part]]
        if name.endswith("bias"):
            assert (new == 0).all()
        elif name.endswith(".to_out.0.weight") and "attn1" in name:
            bound = (6 / 8) ** 0.5
            assert 0.5 * bound < new.abs().max() <= bound


def test_scissorhands_starts_anew_once_and_only_what_is_trained():
    step, _ = step_of("self_attention")
    before = step.parameters.values.clone()
    scissorhands.direction(step, share=0.1, batches=1)
    after = step.parameters.values.clone()
    assert (after != before).sum() == step.seen["restarted"] == round(0.1 * len(before))
    scissorhands.direction(replace(step, index=1), share=0.1, batches=1)
    assert torch.equal(step.parameters.values, after)
    with pytest.raises(ValueError, match="no self-attention is trained"):
        scissorhands.direction(step_of("cross_attention")[0])


def test_scissorhands_projected_update_never_raises_the_forget_loss():
    conflicts = 0
    for seed in range(6):
        step, _ = step_of("full", network(seed + 1), index=seed)
        step.memory["restarted"] = 0
        lost, kept = losses(step)
        forget, remember = by_autograd(step, lost), by_autograd(step, kept)
        both = remember + 0.1 * forget
        assert close(scissorhands.direction(step), both)
        product = float(scissorhands.direction(step, projection=True) @ forget)
        conflicts += float(both @ forget) < 0
        assert product >= -1e-5 * float(forget.norm() * both.norm())
        if float(both @ forget) >= 0:
            assert close(scissorhands.direction(step, projection=True), both)
    assert conflicts  # else nothing was projected


# AdvUnlearn


def test_free_words_stand_after_the_start_and_without_them_the_encoder_is_itself():
    encoder = network().text_encoder
    table = encoder.get_input_embeddings()
    ids = torch.cat([CONCEPT, OTHERS])
    plain = embed_words(encoder, ids, torch.zeros(len(ids), 0, 8))
    assert (plain - encoder(ids)[0]).abs().max() <= 1e-6
    # Words that exist are what their tokens would have been.
    named = torch.tensor([[11, 4]] * len(ids))
    written = torch.cat([ids[:, :1], named, ids[:, 1:]], 1)[:, :LENGTH]
    assert torch.allclose(embed_words(encoder, ids, table(named)), encoder(written)[0], atol=1e-6)
    assert (embed_words(encoder, ids, table(named)) - plain).abs().max() > 0.1
    assert torch.equal(encoder(ids)[0], plain)  # nothing is left of it


def resisting(step: Step, seed: int = 0):
    noisy, times, wanted, ids = away_from_concept(step, 1.0, 3.0, 5, 6)
    words = torch.randn(step.size, 2, 8, generator=torch.Generator().manual_seed(seed))
    return advunlearn.Prefixed(step.network, ids, words, step.places), noisy, times, wanted


def distances(step: Step, given: torch.nn.Module, noisy: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """How far the prediction under free words is from the pretrained network's without them, of each row."""
    with torch.no_grad():
        predicted = given(noisy, times, torch.arange(len(noisy)))
        return (predicted - step.frozen(noisy, times, given.ids)).square().mean((1, 2, 3))


@pytest.mark.parametrize("signed", [False, True])
def test_the_attack_finds_words_that_bring_the_concept_back(signed):
    step, _ = step_of("text_encoder", micro_batch=3)
    given, noisy, times, _ = resisting(step)
    weights, before = step.parameters.values.clone(), distances(step, given, noisy, times)
    advunlearn.attack(step, given, noisy, times, 30, 0.03, signed)
    assert (distances(step, given, noisy, times) < before).all()
    assert torch.equal(step.parameters.values, weights)
    assert all(each.requires_grad for each in step.network.text_encoder.parameters()) and not given.words.requires_grad


def test_the_attack_on_a_prompt_is_its_own():
    step, _ = step_of("text_encoder")
    whole, noisy, times, _ = resisting(step)
    advunlearn.attack(step, whole, noisy, times, 5, 0.03, False)
    alone, *_ = resisting(step)
    single = advunlearn.Prefixed(step.network, alone.ids[2:3], alone.words.detach()[2:3], np.arange(1))
    advunlearn.attack(replace(step, size=1), single, noisy[2:3], times[2:3], 5, 0.03, False)
    assert torch.allclose(single.words[0], whole.words[2], atol=1e-4)


def test_advunlearns_gradient_is_that_of_esd_under_attack_and_of_what_stays():
    step, _ = step_of("text_encoder", micro_batch=3)
    settings = {"attack_steps": 3, "attack_rate": 0.03, "sampling_steps": 5, "paths": 6, "words": 2}
    for after in (0, 1):
        found = advunlearn.direction(step, attack_after=after, weight=0.0, **settings)
        noisy, times, wanted, ids = away_from_concept(step, 1.0, 3.0, 5, 6)
        words = step.memory.pop("words", torch.zeros(step.size, 0, 8))
        assert words.shape[1] == (0 if after else 2)
        predicted = step.network(noisy, times, embed_words(step.network.text_encoder, ids, words))
        assert close(found, by_autograd(step, squared_errors(wanted)(predicted, slice(None)).mean()))
        both = advunlearn.direction(step, attack_after=after, weight=0.5, **settings)
        step.memory.pop("words", None)
        assert close(both - found, 0.5 * advunlearn.change_of_others(step, 3.0, 5, 6))


def test_advunlearn_holds_the_others_where_their_own_samples_pass():
    step, _ = step_of("text_encoder", network())  # nothing has changed yet
    assert advunlearn.change_of_others(step, 3.0, 5, 8).abs().max() < 1e-6
    points = step.memory["kept"][0]
    other = step_of("text_encoder")[0]
    away_from_concept(other, 1.0, 3.0, 5, 8)
    assert points.shape == other.memory["paths"][0].shape and not torch.equal(points, other.memory["paths"][0])


def test_what_stays_is_sampled_under_its_own_prompts_where_the_concept_is_named_alone_too():
    step, _ = step_of("text_encoder")
    alone = replace(step.conditioning, alone=CONCEPT[:1])
    named = replace(step, context=replace(step.context, conditioning=alone), memory={})
    assert torch.equal(alone.bare, CONCEPT[:1]) and torch.equal(advunlearn.of_others(named).conditioning.bare, OTHERS)
    found = [advunlearn.change_of_others(each, 3.0, 5, 6) for each in (step, named)]
    assert torch.equal(*found)


def test_advunlearn_trains_the_text_encoder_and_leaves_the_unet_alone():
    student = network()
    select(student, "text_encoder")
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    settings = {"attack_after": 1, "attack_steps": 2, "sampling_steps": 4, "paths": 4}
    log = train(advunlearn.direction, student, context(), steps=3, learning_rate=1e-2, batch=4, settings=settings)
    assert "attack_loss" not in log[0] and "attack_loss" in log[1]
    changed = {name for name, tensor in student.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed and all(name.startswith("text_encoder.") for name in changed)
    with pytest.raises(ValueError, match="leaves the UNet as it is"):
        advunlearn.direction(step_of("full")[0])
