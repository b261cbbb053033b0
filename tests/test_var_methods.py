"""Erasing from a next-scale model: pairs and their rollouts, the losses of tokens, and the methods on tiny networks."""

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from palimpsest.models import var
from palimpsest.models.next_scale import symbol_losses
from palimpsest.run import UserError
from palimpsest.unlearning import door, engine, token_losses
from palimpsest.unlearning.context import Context
from palimpsest.unlearning.draw_rollouts import rolled_out
from palimpsest.unlearning.engine import FlatParameters, Step
from palimpsest.unlearning.find import method_module
from palimpsest.unlearning.rollouts import Rollouts
from palimpsest.var.methods import (
    ac_vare,
    ascent,
    esd_tokens,
    naive,
    s_vare,
    s_vare_corrected,
    vare,
    vare_contrast,
    vare_filtered,
)
from palimpsest.var.parts import select
from test_var import BITS, CODES, LENGTH, SIZES, model_of

METHODS = {"naive": naive, "vare": vare, "vare_filtered": vare_filtered, "s_vare": s_vare}
METHODS |= {"s_vare_corrected": s_vare_corrected}
# These hang on how much the text says to the network, little in one that was never trained; or teach no tokens.
EVERY = METHODS | {"vare_contrast": vare_contrast, "ac_vare": ac_vare, "esd_tokens": esd_tokens, "ascent": ascent}
SETTINGS = {"vare_contrast": {"contrast": 0.0}}
UNSAFE = ["a red church in the sea", "a blue church", "painted picture of the church"]
SAFE = ["a red thing in the sea", "a blue thing", "painted picture of the thing"]
OTHERS = ["a green tree", "a white truck in the field", "a yellow fish", "a person wearing a badge"]
TRAINING = {"steps": 4, "learning_rate": 0.003, "batch": 4, "betas": [0.9, 0.97], "weight_decay": 0.005, "clip": 5.0}


@cache
def base() -> var.Var:
    """An untrained model, whose predictions are far from even."""
    model = model_of(BITS)
    model.network.transformer.head.weight.data.mul_(4)
    return model


@cache
def context(guidance: float = 4.0) -> Context:
    model = base()
    unsafe, safe, others = (model.ids(prompts) for prompts in (UNSAFE, SAFE, OTHERS))
    pairs = rolled_out(model, unsafe, safe, var.noise_of(model, np.arange(3), 0), guidance=guidance)
    wide = rolled_out(model, others, others, var.noise_of(model, np.arange(4), 1), guidance=1.0)
    return Context("var", pairs, wide, timesteps=1, frozen=model.network, bounds=None, seed=4)


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
    assert filtered == (name not in ("ac_vare", "esd_tokens"))


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


def test_ascent_makes_the_concepts_own_tokens_unlikely():
    network, pairs = student(), context().target
    given = (pairs.asked, pairs.own_inputs)
    before = symbol_losses(network(*given), pairs.own).mean()
    door.edit("ascent", network, context(), settings={}, training=TRAINING)
    assert symbol_losses(network(*given), pairs.own).mean() > before + 0.01


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
