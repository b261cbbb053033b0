"""Erasing from a next-scale model: pairs and their rollouts, the losses of tokens, and the methods on tiny networks."""

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from palimpsest.models import edit_table, edits, scales, var
from palimpsest.models.next_scale import CrossAttention, symbol_losses
from palimpsest.models.steering import Steering
from palimpsest.run import UserError
from palimpsest.unlearning import door, engine, token_losses
from palimpsest.unlearning.context import Conditioning, Context
from palimpsest.unlearning.draw_rollouts import rolled_out
from palimpsest.unlearning.engine import FlatParameters, Step
from palimpsest.unlearning.find import method_module
from palimpsest.unlearning.methods import uce
from palimpsest.unlearning.rollouts import Rollouts
from palimpsest.var.methods import (
    ac_vare,
    ascent,
    ear_windows,
    erase_anything,
    esd_tokens,
    first_scale_only,
    naive,
    s_vare,
    s_vare_corrected,
    vare,
    vare_contrast,
    vare_filtered,
)
from palimpsest.var.parts import select
from test_var import BITS, CODES, LENGTH, SIZES, model_of, saved

METHODS = {"naive": naive, "vare": vare, "vare_filtered": vare_filtered, "s_vare": s_vare}
METHODS |= {"s_vare_corrected": s_vare_corrected}
# These hang on how much the text says to the network, little in one that was never trained; or teach no tokens.
EVERY = METHODS | {"vare_contrast": vare_contrast, "ac_vare": ac_vare, "esd_tokens": esd_tokens, "ascent": ascent}
EVERY |= {"first_scale_only": first_scale_only, "ear_windows": ear_windows, "erase_anything": erase_anything}
BY_LOGITS = {"ac_vare", "esd_tokens", "ear_windows", "erase_anything"}  # with no choice of tokens one by one
SETTINGS = {"vare_contrast": {"contrast": 0.0}}
UNSAFE = ["a red church in the sea", "a blue church", "painted picture of the church"]
SAFE = ["a red thing in the sea", "a blue thing", "painted picture of the thing"]
OTHERS = ["a green tree", "a white truck in the field", "a yellow fish", "a person wearing a badge"]
TRAINING = {"steps": 4, "learning_rate": 0.003, "batch": 4, "betas": [0.9, 0.97], "weight_decay": 0.005, "clip": 5.0}


@cache
def base() -> var.Var:
    """An untrained model, whose predictions are far from even, and whose norm of the text does something."""
    model = model_of(BITS)
    norm = model.network.transformer.condition.norm.weight
    norm.data.copy_(torch.linspace(0.5, 1.5, len(norm)))
    model.network.transformer.head.weight.data.mul_(4)
    return model


@cache
def context(guidance: float = 4.0) -> Context:
    model = base()
    unsafe, safe, others = (model.ids(prompts) for prompts in (UNSAFE, SAFE, OTHERS))
    pairs = rolled_out(model, unsafe, safe, var.noise_of(model, np.arange(3), 0), guidance=guidance)
    wide = rolled_out(model, others, others, var.noise_of(model, np.arange(4), 1), guidance=1.0)
    named = unsafe != safe  # the one token that each pair differs in
    conditioning = Conditioning(unsafe, unsafe[0], others, safe, named, named, model.ids(["church"]))
    shared = {"timesteps": 1, "bounds": None, "seed": 4}
    return Context("var", pairs, wide, frozen=model.network, conditioning=conditioning, **shared)


def student() -> var.NextScale:
    found = copy.deepcopy(base().network)
    select(found, "cross_attention_and_feed")
    return found


def step(network: var.NextScale | None = None, size: int = 4, index: int = 0, places=None, **more) -> Step:
    given, places = more.pop("context", context()), np.arange(size) if places is None else places
    network, picks, none = network or student(), np.arange(size), np.zeros(size, int)
    batches = [engine.draw(each, picks % len(each), none, places, 0) for each in (given.remember, given.target)]
    micro = more.pop("micro_batch", size)
    parameters = FlatParameters(network)
    return Step(network, parameters, given, *batches, picks[places] % 3, places, size, micro, index=index, **more)


def flat(network: var.NextScale, loss: Tensor) -> Tensor:
    """The flat gradient of a loss by autograd alone."""
    parameters = [each for each in network.parameters() if each.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    pairs = zip(found, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


# Rollouts


def test_what_is_drawn_for_a_pair_is_what_each_prompt_draws_from_the_same_numbers():
    model, pairs, uniform = base(), context().target, var.noise_of(base(), np.arange(3), 0)
    settings = {"guidance": 4.0, "top_p": 0.97}
    for prompts, tokens, inputs in ((SAFE, pairs.tokens, pairs.inputs), (UNSAFE, pairs.own, pairs.own_inputs)):
        found = var.roll_out(model, model.ids(prompts), uniform, **settings)
        assert torch.equal(found.symbols, tokens) and torch.allclose(found.inputs, inputs, atol=1e-6)
    found = var.roll_out(model, model.ids(SAFE), uniform, **settings)
    assert torch.equal(found.logits.half(), pairs.guided) and not torch.equal(pairs.guided, pairs.plain)
    assert torch.equal(model.network(model.ids(SAFE), found.inputs).half(), pairs.plain)
    some = pairs.at(np.array([2, 0]))
    assert len(some) == 2 and torch.equal(some.tokens, pairs.tokens[[2, 0]])
    again = rolled_out(model, model.ids(UNSAFE), model.ids(SAFE), uniform, guidance=4.0, batch=1)
    assert torch.equal(again.tokens, pairs.tokens) and torch.equal(again.own, pairs.own)


def test_a_single_prompt_is_its_own_pair_and_a_pair_has_two():
    wide = context().remember
    assert torch.equal(wide.asked, wide.safe) and torch.equal(wide.tokens, wide.own)
    assert torch.allclose(wide.guided.float(), wide.plain.float(), atol=0.01)  # no guidance
    model = base()
    with pytest.raises(ValueError, match="pair 1 has equal prompts"):
        rolled_out(
            model,
            model.ids(UNSAFE),
            model.ids([SAFE[0], *UNSAFE[1:]]),
            var.noise_of(model, np.arange(3), 0),
            guidance=1,
        )


# Losses


def test_a_token_is_kept_where_a_quarter_of_its_bits_are_wrong():
    tokens = torch.zeros(1, LENGTH, 8, dtype=torch.long)
    logits = torch.zeros(1, LENGTH, 8, 2)
    logits[..., 0] = 2.0
    for token in range(LENGTH):  # as many wrong bits as its number says, at most 8
        logits[0, token, : min(token, 8)] *= -1
    given = step()
    losses = token_losses.token_errors(given, tokens, threshold=0.25)(logits, slice(0, 1))
    errors = symbol_losses(logits, tokens).mean(2)[0]
    assert losses.item() == pytest.approx(float(errors[2:].sum() / LENGTH), rel=1e-5)
    assert given.seen["kept"] == pytest.approx((LENGTH - 2) / LENGTH)
    assert [given.seen[f"kept_{side}"] for side in SIZES] == pytest.approx([0, 0.75, 1, 1])
    kept = token_losses.token_errors(given, tokens, threshold=0.25, divisor="kept")(logits, slice(0, 1))
    assert kept.item() == pytest.approx(float(errors[2:].mean()), rel=1e-5)
    # An index is kept where it has less than half of the probability.
    index = torch.tensor([[[0.4, 0.6]], [[0.6, 0.4]]]).log()[None]
    wrong = token_losses.wrong_share(symbol_losses(index, torch.zeros(1, 2, 1, dtype=torch.long)))
    assert wrong.tolist() == [[1, 0]]


def test_where_nothing_is_kept_the_loss_is_none_and_finite():
    tokens, logits = torch.zeros(1, LENGTH, 8, dtype=torch.long), torch.zeros(1, LENGTH, 8, 2, requires_grad=True)
    for divisor in ("all", "kept"):
        losses = token_losses.token_errors(step(), tokens, threshold=1.0, divisor=divisor)(logits + 0.0, slice(0, 1))
        (gradient,) = torch.autograd.grad(losses.sum(), logits)
        assert losses.item() == 0 and not gradient.any()


def test_the_divergence_is_that_of_torch_and_none_to_itself():
    teacher, logits = (torch.randn(3, LENGTH, 6, 2, generator=torch.Generator().manual_seed(n)) for n in (0, 1))
    found = token_losses.divergences(teacher)(logits, slice(0, 3))
    wanted = F.kl_div(logits.log_softmax(-1), teacher.log_softmax(-1), reduction="none", log_target=True)
    assert torch.allclose(found, wanted.mean((1, 2, 3)), atol=1e-6)
    assert token_losses.divergences(teacher)(teacher, slice(0, 3)).abs().max() < 1e-6


# Methods


@pytest.mark.parametrize("name", EVERY)
def test_a_method_is_the_familys_and_learns_nothing_at_a_rate_of_none(name):
    assert method_module("var", name) == f"palimpsest.var.methods.{name}"
    network = student()
    before = {key: each.clone() for key, each in network.state_dict().items()}
    log = door.edit(
        name, network, context(), settings=SETTINGS.get(name, {}), training={**TRAINING, "learning_rate": 0.0}
    )
    assert all(torch.equal(each, before[key]) for key, each in network.state_dict().items())
    loss = log[0]["forget_loss"]
    assert len(log) == 4 and loss > 0
    filtered = {"kept", *(f"kept_{side}" for side in SIZES)} <= log[0].keys()
    assert filtered == (name not in BY_LOGITS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_teaches_the_safe_tokens_and_changes_what_was_chosen_alone(name):
    network, pairs = student(), context().target
    chosen = {key for key, each in network.named_parameters() if each.requires_grad}
    before = {key: each.clone() for key, each in network.state_dict().items()}

    def error() -> float:
        inputs = pairs.own_inputs if name == "naive" else pairs.inputs
        with torch.no_grad():
            return float(symbol_losses(network(pairs.asked, inputs), pairs.tokens).mean())

    first = error()
    door.edit(name, network, context(), settings={}, training={**TRAINING, "steps": 30})
    assert error() < 0.9 * first
    changed = {key for key, each in network.state_dict().items() if not torch.equal(each, before[key])}
    assert changed and changed <= chosen


@pytest.mark.parametrize("name", EVERY)
def test_a_batch_in_parts_has_the_gradient_of_the_whole(name):
    whole, parts = (EVERY[name].direction(step(micro_batch=size)) for size in (4, 1))
    assert torch.allclose(whole, parts, atol=1e-5 * float(whole.abs().max()))
    # And one that several processes share: of whole rows each.
    halves = [EVERY[name].direction(step(places=np.arange(4)[first::2])) for first in (0, 1)]
    assert torch.allclose(whole, sum(halves) / 2, atol=1e-5 * float(whole.abs().max()))


def test_vare_is_the_cross_entropy_of_the_safe_tokens_in_their_own_context():
    network = student()
    given = step(network)
    found = vare.direction(given)
    batch = given.forget
    logits = network(batch.asked, batch.inputs)
    wanted = flat(network, F.cross_entropy(logits.flatten(0, 2), batch.tokens.flatten()))
    assert torch.allclose(found, wanted, atol=1e-5 * float(wanted.abs().max()))
    # Naive fine-tuning differs in nothing but the context.
    pairs = context().target
    same = replace(context(), target=replace(pairs, own=pairs.tokens))
    assert torch.equal(naive.direction(step(context=same)), found)
    assert not torch.allclose(naive.direction(step()), found, rtol=0.1)


def test_a_filter_of_none_is_plain_cross_entropy_and_its_choice_has_no_gradient():
    plain = vare.direction(step())
    assert torch.equal(vare_filtered.direction(step(), threshold=0.0), plain)
    assert torch.allclose(vare_filtered.direction(step(), threshold=0.0, divisor="kept"), plain, atol=1e-7)
    network = student()
    given = step(network)
    found = vare_filtered.direction(given, threshold=0.5)
    batch = given.forget
    losses = symbol_losses(network(batch.asked, batch.inputs), batch.tokens)
    kept = (losses > np.log(2)).float().mean(2) >= 0.5
    assert 0.05 < kept.float().mean() < 0.95 and given.seen["kept"] == pytest.approx(float(kept.float().mean()))
    wanted = flat(network, (kept.detach() * losses.mean(2)).sum(1).mean() / LENGTH)
    assert torch.allclose(found, wanted, atol=1e-5 * float(wanted.abs().max()))


def test_the_released_method_takes_turns_on_one_batch_and_its_teacher_is_guided():
    network = student()
    even = step(network, index=6)
    assert torch.equal(s_vare.direction(even, drop=0.0), vare_filtered.direction(step(network)))
    other = step(network, index=7, memory=even.memory)
    other.forget = other.forget.at(np.array([1, 1, 1, 1]))
    found = s_vare.direction(other, drop=0.0)
    batch = even.memory["pairs"]
    loss = token_losses.divergences(batch.guided)(network(batch.safe, batch.inputs), slice(0, 4)).mean()
    wanted = 0.5 * flat(network, loss)
    assert torch.allclose(found, wanted, atol=1e-5 * float(wanted.abs().max()))
    # With guidance even the pretrained network is led away from itself; without it stays.
    still = context(1.0)
    first = step(network, index=0, context=still)
    s_vare.direction(first, drop=0.0)
    kept = s_vare.direction(step(network, index=1, memory=first.memory, context=still), drop=0.0)
    assert kept.norm() < 0.02 * found.norm()


def test_a_share_of_the_rows_has_no_text():
    given = step(size=4)
    assert token_losses.dropped(given, 0.0) == ()
    (whole,) = token_losses.dropped(given, 0.5)
    part = step(places=np.array([1, 3]))
    assert torch.equal(token_losses.dropped(part, 0.5)[0], whole[[1, 3]])
    shares = [token_losses.dropped(replace(given, index=index), 0.1)[0].float().mean() for index in range(400)]
    assert np.mean(shares) == pytest.approx(0.1, abs=0.02)
    network = student()
    every = s_vare.direction(step(network), drop=1.0)
    batch = step(network).forget
    losses = token_losses.token_errors(step(network), batch.tokens, threshold=0.25)
    none = torch.ones(4, dtype=torch.bool)
    wanted = flat(network, losses(network(batch.asked, batch.inputs, none), slice(0, 4)).mean())
    assert torch.allclose(every, wanted, atol=1e-5 * float(wanted.abs().max()))


def test_the_corrected_method_is_one_sum_whose_teachers_ask_nothing_of_the_pretrained_network():
    network, off = student(), {"pair_weight": 0.0, "wide_weight": 0.0}
    bare = s_vare_corrected.direction(step(network), **off)
    assert torch.allclose(bare, vare_filtered.direction(step(network), divisor="kept"), atol=1e-7)
    whole = s_vare_corrected.direction(step(network))
    assert torch.allclose(whole, bare, atol=0.02 * float(bare.abs().max()))
    # Of a network that is no longer the pretrained one they do.
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    parts = [
        s_vare_corrected.direction(step(network), **{**off, name: weight})
        for name, weight in (("pair_weight", 0.5), ("wide_weight", 2.0))
    ]
    bare = s_vare_corrected.direction(step(network), **off)
    whole = s_vare_corrected.direction(step(network))
    assert all((part - bare).norm() > 0.01 * bare.norm() for part in parts)
    assert torch.allclose(whole, sum(parts) - bare, atol=1e-5 * float(whole.abs().max()))


def test_the_corrected_method_can_filter_by_contrast_and_feed_the_concepts_own_tokens():
    off = {"pair_weight": 0.0, "wide_weight": 0.0}
    for contrast, some in ((0.0, False), (0.01, True)):
        given = step()
        found = s_vare_corrected.direction(given, contrast=contrast, **off)
        assert torch.allclose(found, vare_contrast.direction(step(), contrast=contrast), atol=1e-7)
        assert given.seen["kept"] < 1 if some else given.seen["kept"] == 1
    own = s_vare_corrected.direction(step(), threshold=0.0, context="own", **off)
    assert torch.allclose(own, naive.direction(step()), atol=1e-7)
    assert not torch.allclose(own, s_vare_corrected.direction(step(), threshold=0.0, **off), rtol=0.1)
    # What holds the safe prompt is given its own tokens all the same: to the pretrained network it asks for nothing.
    held = s_vare_corrected.direction(step(), threshold=0.0, context="own", pair_weight=100.0, wide_weight=0.0)
    assert torch.allclose(held, own, atol=0.02 * float(own.abs().max()))


def test_a_filter_by_contrast_keeps_what_the_concepts_word_decides():
    assert torch.allclose(vare_contrast.direction(step(), contrast=0.0), vare.direction(step()), atol=1e-7)
    batch = step().forget
    safe, concept = (base().network(each, batch.inputs).double().softmax(-1) for each in (batch.safe, batch.asked))
    differ = (safe * (safe / concept).log()).sum(-1).mean(2)
    given, contrast = step(), float(differ.quantile(0.7))
    found = vare_contrast.direction(given, contrast=contrast)
    assert given.seen["kept"] == pytest.approx(0.3, abs=0.05)
    assert not torch.allclose(found, vare.direction(step()), rtol=0.1)
    # Of a prompt that is its own safe one nothing is kept.
    single = replace(context(), target=context().remember)
    assert not vare_contrast.direction(step(context=single), contrast=contrast).any()


def test_the_target_of_erasing_by_logits_lies_beyond_no_text():
    network, eta = student(), 0.7
    for where in ("own", "safe"):
        given = step(network)
        found = esd_tokens.direction(given, eta=eta, context=where)
        batch, every = given.forget, torch.ones(4, dtype=torch.bool)
        inputs = batch.own_inputs if where == "own" else batch.inputs
        concept, none = (base().network(batch.asked, inputs, drop) for drop in (None, every))
        wanted = (none - eta * (concept - none)).log_softmax(-1)
        logits = network(batch.asked, inputs).log_softmax(-1)
        right = flat(network, F.kl_div(logits, wanted, reduction="none", log_target=True).mean())
        assert torch.allclose(found, right, atol=1e-4 * float(right.abs().max()))
        # The pretrained network is asked once of every pair, 3 of 4 rows here, with the concept and without a text.
        assert given.seen["forwards"] == 4 + 2 * 3
        later = step(network, memory=given.memory)
        assert torch.equal(esd_tokens.direction(later, eta=eta, context=where), found)
        assert later.seen["forwards"] == given.seen["forwards"] - 2 * 3


def test_ascent_makes_the_concepts_own_tokens_unlikely():
    network, pairs = student(), context().target
    given = (pairs.asked, pairs.own_inputs)
    before = symbol_losses(network(*given), pairs.own).mean()
    door.edit("ascent", network, context(), settings={}, training=TRAINING)
    assert symbol_losses(network(*given), pairs.own).mean() > before + 0.01


def test_what_is_kept_is_logged_once_a_batch_whatever_its_parts(monkeypatch):
    counts, log_kept = [], token_losses.log_kept

    def counted(*given):
        counts.append(given[0].micro_batch)
        log_kept(*given)

    monkeypatch.setattr(token_losses, "log_kept", counted)
    whole, parts = step(), step(micro_batch=3)
    for given in (whole, parts):
        vare_filtered.direction(given, threshold=0.5)
    assert counts == [4, 3] and whole.seen["kept"] == pytest.approx(parts.seen["kept"]) and whole.seen["kept"] > 0


def test_tokens_are_weighed_by_their_scales():
    assert torch.equal(token_losses.token_weights(step()), torch.ones(LENGTH))
    found = token_losses.token_weights(step(), "by_size")
    sides = torch.tensor([float(side) for side in SIZES for _ in range(side * side)])
    assert found.mean() == pytest.approx(1) and torch.allclose(found * sides, (found * sides)[0].expand(LENGTH))
    some = token_losses.token_weights(step(), "by_size", first=1, last=2)
    assert some.mean() == pytest.approx(1) and torch.equal(some > 0, (sides == 2) | (sides == 3))
    with pytest.raises(ValueError, match="scales 4 to 3 are none: the model has those from 0 to 3"):
        token_losses.token_weights(step(), first=4)
    # Of the losses of kept tokens it is the weighted mean.
    tokens = torch.zeros(1, LENGTH, 3, dtype=torch.long)
    logits = torch.randn(1, LENGTH, 3, 2, generator=torch.Generator().manual_seed(0))
    keep = (torch.arange(LENGTH) % 3 > 0)[None]
    losses = token_losses.token_errors(step(), tokens, divisor="kept", keep=keep, weights=found)(logits, slice(0, 1))
    wanted = np.average(symbol_losses(logits, tokens).mean(2)[0][keep[0]], weights=found[keep[0]])
    assert losses.item() == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("count", [1, 2])
def test_the_first_scales_alone_are_learned_and_nothing_that_only_later_ones_use(count):
    network, end = student(), sum(side * side for side in SIZES[:count])
    names = select(network, "full")
    given = step(network)
    found = first_scale_only.direction(given, scales=count, weight=0.0)
    batch = given.forget
    logits = network(batch.asked, batch.inputs)[:, :end]
    wanted = flat(network, F.cross_entropy(logits.flatten(0, 2), batch.tokens[:, :end].flatten()))
    assert torch.allclose(found, wanted, atol=1e-5 * float(wanted.abs().max()))
    by_name = {name: found[part] for name, part in zip(names, given.parameters.parts, strict=True)}
    places = by_name["transformer.places"].unflatten(0, (LENGTH, -1)).abs().sum(1)
    level = by_name["transformer.level"].unflatten(0, (len(SIZES), -1)).abs().sum(1)
    assert (places[:end] > 0).all() and not places[end:].any()
    assert (level[:count] > 0).all() and not level[count:].any()
    assert bool(by_name["transformer.embed.weight"].any()) == (count > 1)  # the first scale is fed nothing
    # What holds the others asks nothing of the pretrained network.
    held = first_scale_only.direction(step(network), scales=count, weight=5.0) - found
    assert held.norm() < 0.02 * found.norm()


def test_windows_follow_each_other_on_one_batch_and_those_that_fit_are_passed_over():
    assert ear_windows.windows_of(SIZES, 0) == scales.spans(SIZES)
    pieces = ear_windows.windows_of(SIZES, 7)
    assert [each.stop - each.start for each in pieces] == [7, 7, 7, 7, 2]
    assert [number for each in pieces for number in range(each.start, each.stop)] == list(range(LENGTH))
    network, memory, eta = student(), {}, 0.7
    batch = step(network).forget
    with torch.no_grad():
        concept = base().network(batch.asked, batch.own_inputs)
        wanted = base().network(batch.safe, batch.inputs) * (1 + eta) - eta * concept
    for index, part in enumerate(scales.spans(SIZES)):
        given = step(network, index=index, memory=memory)
        if index:  # another batch comes, and waits
            given.forget = given.forget.at(np.array([1, 1, 1, 1]))
        found = ear_windows.direction(given, eta=eta, threshold=0.0)
        logits = network(batch.asked, batch.own_inputs)
        right = flat(network, F.mse_loss(logits[:, part], wanted[:, part]))
        assert torch.allclose(found, right, atol=1e-4 * float(right.abs().max())) and given.seen["kept"] == 1
    errors = (concept - wanted)[:, :1].square().mean((1, 2, 3))
    given, threshold = step(network), float(errors[:3].sort().values[:2].mean())  # the fourth row is the first again
    ear_windows.direction(given, eta=eta, threshold=threshold)
    share = float((errors > threshold).float().mean())
    assert 0 < share < 1 and given.seen["kept"] == pytest.approx(share)
    passed = step(network)
    assert not ear_windows.direction(passed, eta=eta, threshold=1e9).any() and passed.seen["kept"] == 0


def test_the_share_of_attention_is_what_attention_uses():
    module, generator = CrossAttention(12, 3), torch.Generator().manual_seed(0)
    tokens, words = (torch.randn(2, n, 12, generator=generator) for n in (5, 4))
    known = torch.tensor([[True, True, True, False], [True, False, False, False]])
    shares = module.shares(tokens, words, known)
    assert torch.allclose(shares.sum(-1), torch.ones(2, 3, 5)) and not shares[0, ..., 3].any()
    value = module.kv(words)[..., 12:].unflatten(-1, (3, 4)).transpose(1, 2)
    seen = module.out((shares @ value).transpose(1, 2).flatten(2))
    assert torch.allclose(seen, module(tokens, words, known), atol=1e-6)


def test_the_terms_of_erase_anything_add_up_and_leave_no_hook():
    network, off = student(), {"attention_weight": 0.0, "wide_weight": 0.0}
    led = erase_anything.direction(step(network), first_scale=0, **off)
    assert torch.allclose(led, esd_tokens.direction(step(network)), atol=1e-5 * float(led.abs().max()))
    middle = erase_anything.direction(step(network), first_scale=1, last_scale=2, **off)
    assert not torch.allclose(middle, led, rtol=0.1)
    given = step(network)
    both = erase_anything.direction(given, **{**off, "attention_weight": 3.0})
    modules = [each for each in network.modules() if isinstance(each, CrossAttention)]
    assert len(modules) == 2 and not any(each._forward_pre_hooks for each in modules)
    with erase_anything.attention_of(network) as shares:
        network(given.forget.asked, given.forget.own_inputs)
    named = context().conditioning.named[[0, 1, 2, 0]]
    share = torch.stack([(each * named[:, None, None]).sum(-1).mean() for each in shares.values()]).mean()
    assert given.seen["attention_loss"] == pytest.approx(share.item()) and 0 < share.item() < 1
    unseen = both - erase_anything.direction(step(network), **off)
    wanted = 3.0 * flat(network, share)
    assert torch.allclose(unseen, wanted, atol=1e-4 * float(both.abs().max())) and wanted.norm() > 0
    with pytest.raises(ValueError, match="has no cross-attention"):
        erase_anything.attention_of(model_of(CODES, 7).network).__enter__()


# Without training


def uce_of(**settings) -> tuple[var.NextScale, list[dict], set[str]]:
    """The network that UCE makes, its log, and the tensors that it changed."""
    network, before = student(), base().network.state_dict()
    log = door.edit("uce", network, context(), settings=settings, training={})
    return network, log, {key for key, each in network.state_dict().items() if not torch.equal(each, before[key])}


def test_uces_matrices_are_those_of_least_squares_at_what_each_of_them_takes():
    erase, preserve, ridge = 2.0, 0.5, 0.3
    network, log, changed = uce_of(erase=erase, preserve=preserve, ridge=ridge, pooled=True)
    kv = [f"transformer.blocks.{number}.text_attention.kv.weight" for number in range(2)]
    assert changed == {*kv, "transformer.condition.kv.weight"} and len(log) == 3
    assert all(row["forget_loss"] < row["loss_before"] for row in log)
    assert uce_of(erase=erase, preserve=preserve, ridge=ridge)[2] == set(kv)
    frozen = base().network
    condition = frozen.transformer.condition
    parts = context().conditioning
    with torch.no_grad():
        texts = [condition.norm(frozen.embed(each)[0]) for each in (parts.concept, parts.anchors, parts.others)]
        named = [int(row.nonzero()[0, 0]) for row in parts.named]
        # The word before the end of the text.
        ends = [int((row == row.max()).nonzero()[0, 0]) - 1 for row in parts.others]
        places = (named, named, ends)
        for name in changed:
            taken = texts if "condition" in name else [condition.words(each) for each in texts]
            rows = [
                each[torch.arange(len(each)), place].double().numpy() for each, place in zip(taken, places, strict=True)
            ]
            weight = frozen.state_dict()[name].double().numpy()
            concept, anchors, kept = rows
            factors = np.sqrt([erase, preserve, ridge])
            left = [concept, kept, np.eye(weight.shape[1])]
            right = [anchors @ weight.T, kept @ weight.T, weight.T]
            stacked = (np.concatenate([f * m for f, m in zip(factors, side, strict=True)]) for side in (left, right))
            wanted = np.linalg.lstsq(*stacked, rcond=None)[0].T
            assert np.allclose(network.state_dict()[name].numpy(), wanted, atol=1e-5)
            assert not np.allclose(weight, wanted, atol=1e-3)


def test_uce_reads_no_padding_where_the_network_reads_none():
    parts, model = context().conditioning, base()
    concept, anchors, kept = uce.contexts(model.network, parts, "all")
    texts = [model.network.embed(each)[0].double() for each in (parts.concept, parts.anchors, parts.others)]
    lengths = [[len(model.tokenizer(prompt)["input_ids"]) for prompt in some] for some in (UNSAFE, SAFE, OTHERS)]
    starts = [int(row.nonzero()[0, 0]) for row in parts.named]
    for found, text, length in zip((concept, anchors), texts, lengths, strict=False):
        wanted = [row[start:end] for row, start, end in zip(text, starts, length, strict=True)]
        assert torch.equal(found, torch.cat(wanted))
    assert torch.equal(kept, torch.cat([row[:end] for row, end in zip(texts[2], lengths[2], strict=True)]))
    with pytest.raises(ValueError, match="takes no pooled text"):
        uce.doors(torch.nn.Module(), pooled=True)


def test_a_negative_prompt_is_one_tensor_and_draws_as_guidance_against_it_does():
    model, network = base(), copy.deepcopy(base().network)
    (row,) = door.edit("negative_prompt", network, context(), settings={}, training={})
    before = model.network.state_dict()
    changed = {key for key, each in network.state_dict().items() if not torch.equal(each, before[key])}
    assert changed == {"transformer.condition.none"} and row["moved"] > 0
    uniform, concept = var.noise_of(model, np.arange(2), 0), model.ids(["church"] * 2)

    def logits(network, prompts, guidance=3.0, **more):
        return var.roll_out(model.with_network(network), model.ids(prompts), uniform, guidance=guidance, **more)

    # Of as many tokens as the concept's the prompts read it whole; of more, its padding too.
    short, long = ["tree", "fish"], ["a tree in the sea", "a yellow fish"]
    found, wanted = logits(network, short), logits(model.network, short, against=concept)
    assert torch.equal(found.symbols, wanted.symbols) and torch.allclose(found.logits, wanted.logits, atol=1e-5)
    assert not torch.allclose(found.logits, logits(model.network, short).logits, atol=1e-2)
    others = logits(network, long).logits, logits(model.network, long, against=concept).logits
    assert not torch.allclose(*others, atol=1e-3)
    assert torch.equal(logits(network, long, 1.0).logits, logits(model.network, long, 1.0).logits)


def test_the_class_of_none_becomes_the_concepts():
    model = model_of(CODES, 7)
    network = copy.deepcopy(model.network)
    given = replace(context(), conditioning=Conditioning(torch.tensor([3]), torch.tensor(7), torch.tensor([1])))
    door.edit("negative_prompt", network, given, settings={}, training={})
    labels, uniform = model.labels([1, 5]), var.noise_of(model, np.arange(2), 0)
    found = var.roll_out(model.with_network(network), labels, uniform, guidance=2.0)
    wanted = var.roll_out(model, labels, uniform, guidance=2.0, against=model.labels([3, 3]))
    assert torch.equal(found.symbols, wanted.symbols) and torch.allclose(found.logits, wanted.logits, atol=1e-5)


def steered(steering: Steering | None) -> var.Var:
    """The model with a steering."""
    network = copy.deepcopy(base().network)
    network.steering = steering
    return base().with_network(network)


@pytest.mark.parametrize("guidance", ["none", "away from no text", "away from a prompt"])
def test_drawing_with_a_steering_gives_what_whole_passes_and_the_formula_do(guidance):
    model, prompts = base(), base().ids(["a red church in the sea", "a tree", "a yellow fish"])
    concept, uniform = model.ids(["church"])[0], var.noise_of(model, np.arange(3), 0)
    against = model.ids(["a badge"] * 3) if guidance == "away from a prompt" else None
    settings = {"guidance": 1.0 if guidance == "none" else 3.0, "against": against}
    every, strength = torch.ones(3, dtype=torch.bool), 5.0

    def differences(inputs):
        row = concept.expand_as(prompts)
        return model.network(row, inputs), model.network(row, inputs, every)

    def apart(wanted, none):
        chances = wanted.double().softmax(-1)
        return (chances * (chances / none.double().softmax(-1)).log()).sum(-1)

    def middle(values):  # between two of them, so that no rounding decides
        known = values.flatten().sort().values
        return float(known[len(known) // 2 : len(known) // 2 + 2].mean())

    plain = var.roll_out(model, prompts, uniform, **settings)
    known = apart(*differences(plain.inputs))
    thresholds = middle(known.mean(-1)), middle(known)
    moved = var.roll_out(steered(Steering(concept, strength, (1, 2), *thresholds)), prompts, uniform, **settings)
    assert not torch.equal(moved.symbols, plain.symbols)
    own = model.network(prompts, moved.inputs)
    if guidance != "none":
        other = (prompts, moved.inputs, every) if against is None else (against, moved.inputs)
        none = model.network(*other)
        own = none + 3.0 * (own - none)
    wanted, none = differences(moved.inputs)
    scale, known = scales.levels(SIZES), apart(wanted, none)
    mask = (known.mean(-1) >= thresholds[0]) & ((scale == 1) | (scale == 2))
    mask = mask[..., None] & (known >= thresholds[1])
    assert mask.any() and not mask.all()
    assert torch.allclose(moved.logits, own - strength * mask[..., None] * (wanted - none), atol=1e-4)
    # A strength of none leaves what is drawn.
    same = var.roll_out(steered(Steering(concept, 0.0)), prompts, uniform, **settings)
    assert torch.equal(same.symbols, plain.symbols) and torch.allclose(same.logits, plain.logits, atol=1e-5)


def test_a_steering_moves_the_tokens_and_the_symbols_that_differ_enough():
    # Two bits of two tokens: log-odds of 2 on either side differ by this divergence, equal ones by none.
    yes, no, one = [-1.0, 1.0], [1.0, -1.0], float(2 * np.tanh(1.0))
    concept, none = torch.tensor([[[yes, yes], [yes, no]]]), torch.tensor([[[no, no], [no, no]]])
    for token, symbol, wanted in (
        (0.0, 0.0, [[True, True], [True, True]]),
        (0.0, one - 0.01, [[True, True], [True, False]]),
        (one / 2 - 0.01, 0.0, [[True, True], [True, True]]),
        (one / 2 + 0.01, 0.0, [[True, True], [False, False]]),
        (one / 2 - 0.01, 0.01, [[True, True], [True, False]]),
        (one + 0.01, 0.0, [[False, False], [False, False]]),
    ):
        found = Steering(torch.zeros(1), 3.0, (1,), token, symbol)
        assert found.mask(concept, none)[0].tolist() == wanted
        own = torch.ones(1, 2, 2, 2)
        changed = (found.steered(own, concept, none, 1) != own).any(-1)[0]
        differ = torch.tensor([[True, True], [True, False]])
        assert torch.equal(changed, torch.tensor(wanted) & differ)
        assert torch.equal(found.steered(own, concept, none, 0), own)


def test_a_steering_is_an_edit_that_is_kept_and_opened(tmp_path):
    path = saved(tmp_path / "base", model_of(BITS))
    model = var.open_model(path)
    settings = {"strength": 6.0, "scales": [0, 2], "token_divergence": 0.0, "symbol_divergence": 0.0}
    door.edit("steering", model.network, context(), settings=settings, training={})
    file = tmp_path / "edit.safetensors"
    assert edits.save_delta(file, model.network, path) == "steering"
    row = {"path": file, "format": "steering", "base": "tiny", "method": "steering", "target": "church"}
    edit_table.write(tmp_path / "edits.parquet", [row], base_path=path, family="var", seed=0, setting="s")
    (edit,) = edits.read(tmp_path / "edits.parquet")
    network = edits.open_edit(edit)
    assert torch.equal(network.steering.concept, base().ids(["church"])[0])
    assert replace(network.steering, concept=0) == Steering(0, 6.0, (0, 2))
    prompts, uniform = base().ids(["a red church", "a tree"]), var.noise_of(base(), np.arange(2), 0)
    plain = var.open_model(path)
    drawn = [
        var.roll_out(each, prompts, uniform, guidance=2.0).symbols
        for each in (model, model.with_network(network), plain)
    ]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    other = saved(tmp_path / "other", model_of(BITS, seed=1))
    with pytest.raises(UserError, match="was made of another base"):
        edits.open_edit(replace(edit, base_path=other))
    model.network.transformer.head.bias.data += 1
    with pytest.raises(ValueError, match="steers and its weights differ"):
        edits.save_delta(file, model.network, path)
    with pytest.raises(UserError, match="method steering: scale 4 is none of the 4, which are 0 to 3"):
        door.edit("steering", model.network, context(), settings={"scales": [1, 4]}, training={})


def test_a_class_is_steered_away_from_alike():
    model = model_of(CODES, 7)
    labels, uniform = model.labels([1, 5]), var.noise_of(model, np.arange(2), 0)
    plain = var.roll_out(model, labels, uniform, guidance=2.0)
    for strength, same in ((0.0, True), (9.0, False)):
        network = copy.deepcopy(model.network)
        network.steering = Steering(torch.tensor(1), strength)
        found = var.roll_out(model.with_network(network), labels, uniform, guidance=2.0)
        assert torch.equal(found.symbols, plain.symbols) == same


def moved(network: var.NextScale, rows: Rollouts) -> float:
    """How far what the network says of safe prompts is from what the pretrained one says."""
    with torch.no_grad():
        return float(token_losses.divergences(rows.plain)(network(rows.safe, rows.inputs), slice(None)).mean())


def test_a_great_weight_keeps_the_prompts_that_it_is_of():
    ends = {}
    for name in ("pair_weight", "wide_weight"):
        for weight in (0.0, 200.0):
            network, settings = student(), {"pair_weight": 0.0, "wide_weight": 0.0, name: weight}
            door.edit("s_vare_corrected", network, context(), settings=settings, training={**TRAINING, "steps": 30})
            ends[name, weight] = moved(network, context().target if name == "pair_weight" else context().remember)
        assert ends[name, 200.0] < 0.2 * ends[name, 0.0]


def test_a_loss_that_is_not_finite_ends_the_edit_with_what_it_has():
    network = student()
    with pytest.raises(engine.NotFinite, match="not finite at step") as error:
        door.edit("vare", network, context(), settings={}, training={**TRAINING, "steps": 9, "learning_rate": 3e37})
    assert error.value.log
    with pytest.raises(
        UserError, match=r"settings of the method vare_filtered: threshold is 2. Give a number from 0 to 1"
    ):
        door.edit("vare_filtered", network, context(), settings={"threshold": 2}, training=TRAINING)


def test_parts_of_the_transformer_are_chosen_by_name():
    network = student()
    every = {name for name, _ in network.named_parameters()}
    sizes = {which: set(select(network, which)) for which in ("cross_attention", "feed", "self_attention", "full")}
    both = set(select(network, "cross_attention_and_feed"))
    assert both == sizes["cross_attention"] | sizes["feed"]
    assert {name for name, each in network.named_parameters() if each.requires_grad} == both
    assert sizes["full"] == {name for name in every if not name.startswith("text_encoder.")}
    assert not sizes["cross_attention"] & sizes["self_attention"]
    classes = model_of(CODES, 7).network
    assert {name.split(".")[1] for name in select(classes, "modulation_and_feed")} == {"modulation", "blocks"}
    with pytest.raises(UserError, match="no parameters that are cross_attention"):
        select(classes, "cross_attention")


def test_a_model_of_classes_is_edited_alike():
    model = model_of(CODES, 7)
    uniform = var.noise_of(model, np.arange(2), 0)
    pairs = rolled_out(model, model.labels([3, 3]), model.labels([1, 2]), uniform, guidance=2.0)
    wide = rolled_out(model, model.labels([0, 5]), model.labels([0, 5]), uniform, guidance=1.0)
    given = Context("var", pairs, wide, timesteps=1, frozen=model.network, bounds=None)
    network = copy.deepcopy(model.network)
    select(network, "modulation_and_feed")
    log = door.edit("s_vare_corrected", network, given, settings={}, training={**TRAINING, "steps": 30})
    assert log[-1]["forget_loss"] < log[0]["forget_loss"]
