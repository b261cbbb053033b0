"""Concept erasers that need no pictures of what is kept (ESD, UCE, AC, FMN, SPM), on a tiny text-to-image model."""

import copy
from functools import cache

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from palimpsest.models import prompts
from palimpsest.models.adapters import merge, weights_of
from palimpsest.models.gated import Gated
from palimpsest.models.text_diffusion import Conditioned
from palimpsest.run import UserError
from palimpsest.unlearning import adapters, door, engine
from palimpsest.unlearning.context import Conditioning, Context, Examples
from palimpsest.unlearning.engine import FlatParameters, Step
from palimpsest.unlearning.methods import ac, esd, fmn, spm, uce

START, END, LENGTH, SHAPE = 30, 31, 8, (4, 8, 8)
SCHEDULE = torch.cumprod(1 - torch.linspace(1e-3, 0.02, 100), 0)
# Words 5 and 6 name the concept; 7 stands in its place, and in the last anchor nothing does.
CONCEPT, ANCHORS = [[1, 5, 2], [3, 5, 6], [5, 4]], [[1, 7, 2], [3, 7], [4]]
OTHERS = [[1, 8, 2], [9, 3], [10], [2, 4, 9]]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ids(texts: list[list[int]]) -> Tensor:
    return torch.tensor([[START, *words, END, *[END] * (LENGTH - 2 - len(words))] for words in texts])


def conditioning(**changes) -> Conditioning:
    concept, anchors = ids(CONCEPT), ids(ANCHORS)
    parts = {"anchors": anchors, "named": (concept == 5) | (concept == 6), "anchors_named": anchors == 7, **changes}
    return Conditioning(concept, ids([[]])[0], ids(OTHERS), **parts)


@cache
def first_network() -> Conditioned:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = CLIPTextConfig(vocab_size=END + 1, max_position_embeddings=LENGTH, **sizes, eos_token_id=END)
    unet = UNet2DConditionModel(
        sample_size=SHAPE[1],
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    network = Conditioned(unet, CLIPTextModel(text)).eval().requires_grad_(False)
    for parameter in network.parameters():  # so that texts make a difference
        parameter.mul_(1.5)
    return network


def network(trained: str = "attn2") -> Conditioned:
    """A fresh copy, of which the parameters of such a name are to be trained."""
    found = copy.deepcopy(first_network())
    for name, parameter in found.unet.named_parameters():
        parameter.requires_grad_(trained in name)
    return found


def context(**changes) -> Context:
    concept = conditioning()
    parts = {
        "target": Examples(random(3, *SHAPE), concept.concept),
        "remember": Examples(random(4, *SHAPE, seed=1), concept.others),
        "timesteps": len(SCHEDULE),
        "frozen": first_network(),
        "alphas_cumprod": SCHEDULE,
        "conditioning": concept,
        "anchor": Examples(random(5, *SHAPE, seed=2)),
        "bounds": None,
        "seed": 4,
    }
    return Context("erasure", **{**parts, **changes})


def step(student: Conditioned | None = None, size: int = 4, index: int = 0, places=None, **changes) -> Step:
    given, places = context(**changes), np.arange(size) if places is None else places
    picks = np.arange(size)
    times = np.arange(size) * 20
    batches = (
        engine.draw(each, picks % len(each), times, places, number)
        for number, each in enumerate((given.remember, given.target))
    )
    student = student or network()
    targets = picks[places] % len(given.target)
    return Step(student, FlatParameters(student), given, *batches, targets, places, size, size, index=index)


def changed(trained: str = "attn2", by: float = 0.3) -> Conditioned:
    """A network that is no longer the frozen one."""
    found = network(trained)
    with torch.no_grad():
        for number, parameter in enumerate(found.parameters()):
            if parameter.requires_grad:
                parameter.add_(by * random(*parameter.shape, seed=number))
    return found


def point(count: int = 4, seed: int = 5) -> tuple[Tensor, Tensor]:
    return random(count, *SHAPE, seed=seed), torch.arange(count) * 20


# Conditions


def test_places_of_words():
    given = ids([[1, 5, 2], [], [1, 2, 3, 4, 5, 6]])
    assert prompts.end_of_text(given).tolist() == [4, 1, 7]
    assert prompts.words(given).sum(1).tolist() == [3, 0, 6]
    assert prompts.last(prompts.words(given)).tolist() == [3, -1, 6]
    assert prompts.last(given == 5).tolist() == [2, -1, 5]


def test_a_concept_of_several_prompts_is_taken_in_turn_and_its_parts_go_together():
    concept = conditioning()
    assert torch.equal(concept.concepts(np.arange(5)), concept.concept[[0, 1, 2, 0, 1]])
    with pytest.raises(ValueError, match="2 rows of anchors cannot go with 3 of the concept"):
        conditioning(anchors=ids(ANCHORS)[:2])
    with pytest.raises(ValueError, match="has no named, which this method needs"):
        Conditioning(torch.tensor([0]), torch.tensor(3), torch.tensor([1, 2])).part("named")


# ESD


def test_esds_gradient_is_zero_where_the_conditional_prediction_is_wanted():
    for start, eta in (("none", -1.0), ("concept", 0.0)):
        found = step()
        assert esd.direction(found, eta=eta, start=start, sampling_steps=3, paths=4).abs().max() < 1e-5
        assert esd.direction(step(), eta=1.0, start=start, sampling_steps=3, paths=4).abs().max() > 1e-3
    # The second release goes further from the concept by the conditional prediction itself.
    _, _, near, _ = esd.away_from_concept(step(), 1.0, 3.0, 3, 4, start="none")
    _, _, far, _ = esd.away_from_concept(step(), 0.0, 3.0, 3, 4, start="concept")
    assert not torch.allclose(near, far)


def test_esds_points_are_of_the_prompt_of_their_path():
    noisy, times, wanted, conditions = esd.away_from_concept(step(size=32), 1.0, 3.0, 3, 5)
    points, path_times = esd.guided_paths(step(size=32), 3.0, 3, 5)
    known = {points[i, j].numpy().tobytes(): (i, j) for i in range(5) for j in range(3)}
    places = [known[each.numpy().tobytes()] for each in noisy]
    assert {path for path, _ in places} == set(range(5))
    assert conditions.tolist() == [ids(CONCEPT)[path % 3].tolist() for path, _ in places]
    assert times.tolist() == [path_times[when].item() for _, when in places]
    none = ids([[]]).expand(32, -1)
    conditional, unconditional = (first_network()(noisy, times, each) for each in (conditions, none))
    assert torch.allclose(wanted, 2 * unconditional - conditional, atol=1e-5)


def test_clean_latents_are_not_clamped_and_pixels_are():
    def clean(bounds) -> Tensor:
        """The clean image between two points, which are its noised versions with the same noise."""
        points, times = esd.guided_paths(step(bounds=bounds), 3.0, 2, 3)
        signal, spread = SCHEDULE[times].sqrt(), (1 - SCHEDULE[times]).sqrt()
        above = points[:, 1] * spread[0] - points[:, 0] * spread[1]
        return above / (signal[1] * spread[0] - signal[0] * spread[1])

    free, held = clean(None), clean((-1.0, 1.0))
    assert free.abs().max() > 2 and torch.allclose(held, free.clamp(-1, 1), atol=1e-4)


def test_the_students_paths_are_drawn_anew_with_the_student():
    memory, found = {}, []
    for index, student in enumerate((network(), changed(), changed(), changed())):
        one = step(student, index=index)
        one.memory = memory
        esd.away_from_concept(one, 1.0, 3.0, 3, 4, policy="student", every=2)
        found.append(memory["paths"][0])
    frozen, _ = esd.guided_paths(step(), 3.0, 3, 4)
    assert torch.equal(found[0], frozen) and torch.equal(found[0], found[1]) and torch.equal(found[2], found[3])
    # Noise of its own, and the way that the student leads.
    assert not torch.equal(found[2][:, 0], frozen[:, 0])
    later, _ = esd.guided_paths(step(), 3.0, 3, 4, turn=1)
    assert torch.equal(found[2][:, 0], later[:, 0]) and not torch.allclose(found[2][:, 1], later[:, 1])


# UCE


@pytest.mark.parametrize("weights", [(1.0, 1.0, 0.5), (3.0, 0.2, 0.01), (0.0, 1.0, 1.0)])
def test_uces_matrix_solves_its_normal_equations_as_the_textbook_formula_does(weights):
    erase, preserve, ridge = weights
    concept, anchors, kept = (random(n, 6, seed=n).double() for n in (5, 5, 9))
    concept, anchors = concept[:4], anchors[1:]
    weight = random(3, 6, seed=7).double()
    found = weight @ uce.transformation(concept, anchors, kept, erase, preserve, ridge)
    left, right = ridge * torch.eye(6).double(), ridge * weight
    for one, two in zip(concept, anchors, strict=True):
        left, right = left + erase * torch.outer(one, one), right + erase * torch.outer(weight @ two, one)
    for one in kept:
        left, right = left + preserve * torch.outer(one, one), right + preserve * torch.outer(weight @ one, one)
    assert torch.allclose(found, right @ torch.linalg.inv(left), atol=1e-10)

    def loss(matrix):
        errors = concept @ matrix.T - anchors @ weight.T, kept @ (matrix - weight).T, matrix - weight
        return sum(scale * each.square().sum() for scale, each in zip((erase, preserve, ridge), errors, strict=True))

    free = found.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(free), free)
    assert gradient.abs().max() < 1e-9
    if erase == 0:
        assert torch.allclose(found, weight)


def test_uce_reads_the_tokens_that_it_says():
    concept = conditioning()
    own, anchors, others = (first_network().embed(each).double() for each in (ids(CONCEPT), ids(ANCHORS), ids(OTHERS)))
    found = uce.contexts(first_network(), concept, "last")
    wanted = (own[[0, 1, 2], [2, 3, 1]], anchors[[0, 1, 2], [2, 2, 0]], others[[0, 1, 2, 3], [3, 2, 1, 3]])
    assert all(torch.equal(one, two) for one, two in zip(found, wanted, strict=True))
    found = uce.contexts(first_network(), concept, "all")
    # [5, 4] becomes [4]: what names it becomes the start, the word after it that same word.
    pairs = [(own[0, 2:], anchors[0, 2:]), (own[1, 3:], anchors[1, 2:-1]), (own[2, 1:], anchors[2, :-1])]
    assert torch.equal(found[0], torch.cat([one for one, _ in pairs]))
    assert torch.equal(found[1], torch.cat([two for _, two in pairs]))
    assert torch.equal(found[2], others.flatten(0, 1))
    nothing = first_network().embed(concept.none[None]).double()[0]
    for words, count in (("last", 3), ("all", len(found[0]))):
        concepts, empty, kept = uce.contexts(first_network(), concept, words, "empty")
        assert len(concepts) == len(empty) == count and torch.equal(
            kept, uce.contexts(first_network(), concept, words)[2]
        )
        if words == "last":
            assert torch.equal(concepts, wanted[0]) and torch.equal(empty, nothing[:1].expand(3, -1))
        else:
            assert torch.equal(empty, torch.cat([nothing[: len(own[0]) - start] for start in (2, 3, 1)]))
    with pytest.raises(ValueError, match="has no token that names it"):
        uce.contexts(first_network(), conditioning(named=ids(CONCEPT) == 29), "last")


def test_uce_edits_keys_and_values_only_and_keeps_what_it_preserves(tmp_path):
    moved = {}
    for preserve in (0.0, 1.0, 1e6):
        student = network()
        log = door.edit(
            "uce",
            student,
            context(),
            settings={"preserve": preserve, "erase": 1.0, "ridge": 1e-3},
            training={},
            beside=tmp_path / "log.parquet",
            save=lambda path: None,
        )
        assert len(log) == len(uce.keys_and_values(student.unet)) == 8
        before, after = first_network().state_dict(), student.state_dict()
        edited = {name for name in before if not torch.equal(before[name], after[name])}
        assert edited == {f"unet.{name}.weight" for name, _ in uce.keys_and_values(student.unet)}
        assert all(row["forget_loss"] < row["loss_before"] for row in log)
        kept = uce.contexts(student, conditioning(), "last")[2].float()
        (_, old), (_, new) = uce.keys_and_values(first_network().unet)[0], uce.keys_and_values(student.unet)[0]
        with torch.no_grad():
            moved[preserve] = float((old(kept) - new(kept)).norm() / old(kept).norm())
    assert moved[1e6] < 1e-4 < moved[1.0] < moved[0.0]


def test_uce_does_not_know_a_class(tmp_path):
    classes = Conditioning(torch.tensor([0]), torch.tensor(3), torch.tensor([1, 2]))
    with pytest.raises(UserError, match=r"method uce .*has no anchors, which this method needs"):
        door.edit("uce", network(), context(conditioning=classes), settings={}, training={}, beside=tmp_path, save=None)


# AC


def test_acs_gradient_is_zero_where_the_concept_is_its_anchor():
    same = conditioning(anchors=ids(CONCEPT))
    for settings in ({}, {"target": "frozen"}):
        assert ac.direction(step(conditioning=same), **settings).abs().max() < 1e-6
        assert ac.direction(step(), **settings).abs().max() > 1e-3
    # Once the student has moved, only its own prediction makes it so.
    assert ac.direction(step(changed(), conditioning=same)).abs().max() < 1e-6
    assert ac.direction(step(changed(), conditioning=same), target="frozen").abs().max() > 1e-3
    assert ac.direction(step(conditioning=same), loss="noise").abs().max() > 1e-3


@pytest.mark.parametrize("loss", ["model", "noise"])
def test_acs_gradient_is_that_of_its_loss(loss):
    one = step(changed(), size=6)
    found = ac.direction(one, loss=loss, prior=0.7)
    batch, concept = ac.anchor_batch(one)
    noisy = one.noisy(batch)
    # Each picture goes with its own row of the concept, and of the anchors.
    pictures = random(5, *SHAPE, seed=2)
    rows = [next(n for n in range(5) if torch.equal(pictures[n], image)) % 3 for image in batch.images]
    assert len(set(rows)) > 1
    assert torch.equal(concept, ids(CONCEPT)[rows]) and torch.equal(batch.conditions, ids(ANCHORS)[rows])
    to_anchor = one.network(noisy, batch.timesteps, batch.conditions)
    wanted = to_anchor.detach() if loss == "model" else batch.noise
    total = (one.network(noisy, batch.timesteps, concept) - wanted).square().mean()
    total = total + 0.7 * (to_anchor - batch.noise).square().mean()
    trained = [each for each in one.network.parameters() if each.requires_grad]
    exact = torch.cat([each.flatten() for each in torch.autograd.grad(total, trained)])
    assert exact.abs().max() > 1e-3 and torch.allclose(found, exact, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", [ac, esd, fmn, spm])
def test_two_halves_of_a_batch_have_the_gradient_of_the_whole(method):
    settings = {"sampling_steps": 2, "paths": 2} if method in (esd, spm) else {}
    whole, one, two = (
        method.direction(step(changed(), places=places), **settings)
        for places in (np.arange(4), np.array([0, 2]), np.array([1, 3]))
    )
    assert torch.allclose(whole, (one + two) / 2, rtol=1e-3, atol=1e-4 * float(whole.abs().max()))


# FMN


def test_attention_is_recorded_only_while_it_is_asked_for_and_sums_to_one():
    student, (noisy, times) = network(), point()
    plain = student(noisy, times, ids(OTHERS))
    kinds = {name: type(each) for name, each in student.unet.attn_processors.items()}
    with fmn.recorded_attention(student.unet) as found:
        recorded = student(noisy, times, ids(OTHERS))
    assert torch.allclose(plain, recorded, atol=1e-5) and len(found) == 4
    assert kinds == {name: type(each) for name, each in student.unet.attn_processors.items()}
    assert {tuple(each.shape) for each in found.values()} == {(4 * 2, 16, LENGTH)}
    assert all(torch.allclose(each.sum(-1), torch.ones(1)) for each in found.values())
    kept = dict(found)
    student(noisy, times, ids(OTHERS))
    assert all(found[name] is kept[name] for name in kept)


@pytest.mark.parametrize("end", [False, True])
def test_fmn_takes_attention_from_the_tokens_that_name_the_concept(end):
    student = network()
    one = step(student)
    tokens = fmn.steered_tokens(one.forget.conditions, one.conditioning, end)
    assert tokens.sum(1).tolist() == [each + end for each in (1, 2, 1, 1)]
    gradient = fmn.direction(one, end=end)

    def attention() -> tuple[float, float]:
        with fmn.recorded_attention(student.unet) as found, torch.no_grad():
            student(one.noisy(one.forget), one.forget.timesteps, one.forget.conditions)
        parts = [each.unflatten(0, (4, -1)) * tokens[:, None, None] for each in found.values()]
        norms = [torch.cat([part[row].flatten() for part in parts]).norm() for row in range(4)]
        return float(torch.stack(norms).mean()), float(torch.cat([part.flatten() for part in parts]).sum())

    loss, total = attention()
    assert one.seen["forget_loss"] == pytest.approx(loss, rel=1e-4)
    one.parameters.values.sub_(0.3 * gradient / gradient.norm())
    less, lower = attention()
    assert less < loss and lower < total


def test_fmn_knows_only_targets_of_the_concepts_prompts():
    with pytest.raises(ValueError, match="none of the concept's"):
        fmn.direction(step(target=Examples(random(3, *SHAPE), ids(OTHERS)[:3])))
    with pytest.raises(ValueError, match="have no prompts"):
        fmn.direction(step(target=Examples(random(3, *SHAPE))))


# SPM


def adapted(by: float = 0.5) -> Conditioned:
    found = network()
    adapters.inject(found.unet)
    with torch.no_grad():
        for number, (name, parameter) in enumerate(found.unet.named_parameters()):
            if "lora_B" in name:
                parameter.add_(by * random(*parameter.shape, seed=number))
    return found


def test_adapters_are_of_rank_one_in_every_projection_and_change_nothing_at_first():
    student, (noisy, times) = network(), point()
    names = adapters.projections(student.unet)
    assert len(names) == 4 * 12 and any(name.endswith("proj_in") for name in names)
    adapters.inject(student.unet)
    trained = {name: each for name, each in student.named_parameters() if each.requires_grad}
    assert len(trained) == 2 * len(names) and all(
        1 in each.shape[:2] and "lora" in name for name, each in trained.items()
    )
    assert torch.equal(student(noisy, times, ids(OTHERS)), first_network()(noisy, times, ids(OTHERS)))


def gated(given: Conditioned, concept: Tensor) -> Gated:
    return Gated(network(), weights_of(given), concept)


def test_merged_is_gated_at_one_and_the_base_is_gated_at_zero():
    student, (noisy, times) = adapted(), point()
    merged, base = network(), first_network()
    merge(merged, weights_of(student))
    given = gated(student, ids([[5]]))
    whole, none = (each(noisy, times, ids(OTHERS)) for each in (merged, base))
    assert (whole - none).abs().max() > 0.05
    found = {}
    for value in (1.0, 0.0):
        given.gates = lambda given, value=value: torch.full((len(given),), value)
        given._gates.clear()
        found[value] = given(noisy, times, ids(OTHERS))
    assert torch.allclose(found[1.0], whole, atol=1e-5) and torch.equal(found[0.0], none)
    # While they are trained the adapters act in full.
    assert torch.allclose(student(noisy, times, ids(OTHERS)), whole, atol=1e-5)


@pytest.mark.parametrize("fault", ["half", "elsewhere", "shape"])
def test_adapters_that_do_not_fit_change_nothing(fault):
    state, plain = weights_of(adapted()), network()
    name = next(name for name in state if "lora_A" in name)
    if fault == "half":
        state.pop(name)
    elif fault == "elsewhere":
        state |= {"other.lora_A.weight": state[name], "other.lora_B.weight": state[name]}
    else:
        state[name] = torch.cat([state[name]] * 2)
    named = {"half": f"it lacks {name}", "elsewhere": "there is no other", "shape": "its weight"}[fault]
    with pytest.raises(ValueError, match=named):
        merge(plain, state)
    assert all(torch.equal(*each) for each in zip(plain.parameters(), network().parameters(), strict=True))


def test_the_gate_is_the_greater_of_the_cosine_and_the_share_of_words():
    noisy, times = point()
    given = gated(adapted(), ids([[5, 6]]))
    texts = ids([[5, 6], [1, 5, 2], [6, 1, 5], [9]])
    gates = given.gates(texts)
    one, several = (first_network().embed(each).flatten(1) for each in (ids([[5, 6]]), texts))
    cosines = torch.cosine_similarity(several, one)
    assert torch.allclose(gates, torch.maximum(cosines, torch.tensor([1.0, 0.5, 1.0, 0.0])), atol=1e-6)
    assert 0 < gates[3] < 1
    # Each row has the strength of its own prompt, whether it comes as words or as what `embed` made of them.
    found = given(noisy, times, texts)
    assert torch.allclose(found, given(noisy, times, given.embed(texts)), atol=1e-6)
    for row in range(4):
        given.gates = lambda given, row=row: gates[row].expand(len(given))
        given._gates.clear()
        alone = given(noisy[row : row + 1], times[row : row + 1], texts[row : row + 1])
        assert torch.allclose(found[row], alone[0], atol=1e-5)
    fresh = gated(adapted(), ids([[5, 6]]))
    unheard = random(4, LENGTH, 16, seed=8)
    assert fresh(noisy, times, unheard).isfinite().all() and not fresh._gates


def test_spm_holds_other_prompts_and_those_like_the_concept_least():
    student = adapted()
    one = step(student)
    settings = {"sampling_steps": 2, "paths": 2}
    free, held = (spm.direction(step(student), anchor=anchor, **settings) for anchor in (0.0, 10.0))
    assert torch.allclose(free, esd.direction(step(student), **settings)) and not torch.allclose(free, held)
    likely = spm.acceptance(one)
    texts = [
        torch.nn.functional.normalize(first_network().embed(each).flatten(1), dim=1)
        for each in (ids(OTHERS), ids(CONCEPT))
    ]
    free = 1 - (texts[0] @ texts[1].T).amax(1)
    assert likely == pytest.approx((free / free.sum()).numpy(), rel=1e-3) and np.ptp(likely) > 1e-3
    drawn = [spm.drawn_others(step(size=400, index=index), True) for index in range(3)]
    shares = [(torch.cat(drawn) == each).all(1).float().mean().item() for each in ids(OTHERS)]
    assert shares == pytest.approx(likely, abs=0.06)
    classes = Conditioning(torch.tensor([0]), torch.tensor(3), torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="permeable compares text embeddings"):
        spm.drawn_others(step(conditioning=classes, frozen=torch.nn.Identity()), True)
