"""Instance unlearning: its formulas against closed forms, and every method on problems whose solution is known."""

from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from palimpsest.models.forward_process import add_noise, drawn_noise, implied_noise, surrogate_noise
from palimpsest.unlearning import engine, streams
from palimpsest.unlearning.context import Conditioning, Context, Examples
from palimpsest.unlearning.engine import FlatParameters, NotFinite, train
from palimpsest.unlearning.find import method_module, methods_of
from palimpsest.unlearning.losses import squared_errors
from palimpsest.unlearning.methods.erasediff_port import balance, uniform_noise
from palimpsest.unlearning.methods.esd import away_from_concept, guided_paths
from palimpsest.unlearning.methods.siss import from_target, importance_weights
from palimpsest.unlearning.projection import combined, without_conflict
from palimpsest.unlearning.streams import Stream
from palimpsest.unlearning.timestep_weights import share_below, timestep_weights

# Of networks that predict noise, and without prompts; those with are in test_erasers_*.
PROMPTED = {"ac", "advunlearn", "erasediff", "fmn", "salun", "scissorhands", "uce"}
METHODS = [name for name in methods_of("instance") if name not in {"flow_matching", *PROMPTED}]
LINEAR = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_surrogates_noise_leads_from_the_surrogate_to_the_noised_target():
    target, surrogate, noise = (random(5, 3, 4, 4, seed=seed) for seed in range(3))
    times, schedule = torch.tensor([0, 10, 250, 600, 999]), LINEAR.float()
    noisy = add_noise(target, noise, schedule, times)
    found = surrogate_noise(noise, target, surrogate, schedule, times)
    assert torch.allclose(add_noise(surrogate, found, schedule, times), noisy, atol=1e-4)
    assert torch.allclose(implied_noise(noisy, surrogate, schedule, times)[2:], found[2:], atol=1e-4)
    assert torch.equal(surrogate_noise(noise, target, target, schedule, times), noise)


def test_the_forget_loss_is_the_weighted_distance_of_the_denoised_image_to_the_surrogate():
    target, surrogate, noise, predicted = (random(3, 3, 4, 4, seed=seed).double() for seed in range(4))
    times = torch.tensor([50, 250, 600])
    noisy = add_noise(target, noise, LINEAR, times)
    denoised = (noisy - (1 - LINEAR[times]).sqrt().view(-1, 1, 1, 1) * predicted) / LINEAR[times].sqrt().view(
        -1, 1, 1, 1
    )
    ratio = LINEAR[times] / (1 - LINEAR[times])
    loss = (surrogate_noise(noise, target, surrogate, LINEAR, times) - predicted).square().sum((1, 2, 3))
    assert torch.allclose(loss, ratio * (surrogate - denoised).square().sum((1, 2, 3)), rtol=1e-10)


@pytest.mark.parametrize(
    ("exponent", "shares"),
    [
        (0.0, [0.791, 0.953, 0.981, 0.997]),
        (0.5, [0.397, 0.760, 0.872, 0.969]),
        (1.0, [0.147, 0.477, 0.658, 0.887]),
        (2.0, [0.007, 0.093, 0.223, 0.588]),
    ],
)
def test_where_the_forget_loss_lies(exponent, shares):
    weights = (torch.arange(1000) / 1000).double() ** exponent
    assert share_below(weights, LINEAR, [10, 50, 100, 250]) == pytest.approx(shares, abs=6e-4)


def test_weights_are_what_they_are_called():
    for form in ("const", "one_minus_power"):
        forget, remember = timestep_weights(form, LINEAR, 0.5)
        assert torch.allclose(forget + remember, torch.ones_like(forget))
    power, ones = timestep_weights("power", LINEAR, 2.0)
    assert power[[0, 499, 999]].tolist() == pytest.approx([1e-6, 0.25, 1]) and (ones == 1).all()
    forget, remember = timestep_weights("min_snr", LINEAR, 5.0)
    ratio = LINEAR / (1 - LINEAR)
    assert torch.allclose(forget * ratio, ratio.clamp(max=5)) and torch.equal(forget, remember)
    assert (timestep_weights("capped_snr", LINEAR, 5.0)[1] == 1).all()
    with pytest.raises(ValueError, match=r"'linear'.*one_minus_power"):
        timestep_weights("linear", LINEAR, 1.0)


@pytest.mark.parametrize("mixture", [0.0, 1e-6, 0.1, 0.5, 0.9, 1.0])
def test_importance_weights_are_those_of_the_mixture(mixture):
    near, far = random(64, 3, 4, 4).double() * 0.5, random(64, 3, 4, 4, seed=1).double() * 20
    for one, other in ((near, near + 0.01), (near, far), (far, near)):
        kept, lost = importance_weights(one, other, mixture)
        assert torch.isfinite(kept).all() and torch.isfinite(lost).all() and (kept >= 0).all() and (lost >= 0).all()
        if 0 < mixture < 1:
            assert torch.allclose((1 - mixture) * kept + mixture * lost, torch.ones(64), atol=1e-5)
    gap = (near.square().sum((1, 2, 3)) - (near + 0.01).square().sum((1, 2, 3))) / 2
    kept, lost = importance_weights(near, near + 0.01, mixture)
    assert torch.allclose(kept.double(), 1 / ((1 - mixture) + mixture * gap.exp()), rtol=1e-5)
    assert torch.allclose(lost.double(), 1 / ((1 - mixture) * (-gap).exp() + mixture), rtol=1e-5)


def test_projection_takes_the_conflict_out_and_nothing_else():
    one, two = random(1000), random(1000, seed=1)
    against = one - 2 * (one @ two) / (two @ two) * two if one @ two > 0 else one
    assert against @ two < 0
    assert without_conflict(against, two) @ two == pytest.approx(0, abs=1e-3)
    assert torch.equal(without_conflict(-against, two), -against)
    assert torch.allclose(combined(against, two, "none"), against + two)
    assert torch.allclose(combined(against, two, "forget"), without_conflict(against, two) + two)
    assert torch.allclose(combined(against, two, "remember"), against + without_conflict(two, against))
    both = without_conflict(against, two) + without_conflict(two, against)
    assert torch.allclose(combined(against, two, "both"), both)
    halves = [slice(0, 500), slice(500, 1000)]
    found = combined(against, two, "forget", halves)
    for half in halves:
        assert (found[half] - two[half]) @ two[half] >= -1e-3
    with pytest.raises(ValueError, match="'pcgrad'"):
        combined(one, two, "pcgrad")


def test_balance_never_lets_the_remember_loss_rise():
    kept, lost = random(100), random(100, seed=1)
    weight = balance(kept, lost, 0.1)
    assert weight == pytest.approx(max(0, 0.1 - float(kept @ lost / (lost @ lost))), rel=1e-5)
    assert (kept + weight * lost) @ lost >= 0.1 * float(lost @ lost) - 1e-3
    assert balance(kept, torch.zeros(100), 0.1) == 0


def test_uniform_noise_is_uniform_and_independent_of_the_pictures_noise():
    def step_at(index: int) -> SimpleNamespace:
        forget = SimpleNamespace(noise=random(8, 3, 64, 64))
        drawn = partial(streams.generator, 3, Stream.UNIFORM, index)
        return SimpleNamespace(forget=forget, random=lambda _: drawn(), size=8, places=np.arange(8))

    step = step_at(5)
    found = uniform_noise(step, centred=False)
    assert np.allclose(np.histogram(found.numpy(), 10, (0, 1))[0] / found.numel(), 0.1, atol=0.005)
    assert abs(np.corrcoef(found.ravel(), step.forget.noise.ravel())[0, 1]) < 0.02
    assert torch.equal(uniform_noise(step, centred=True), found - 0.5)
    assert not torch.equal(uniform_noise(step_at(6), centred=False), found)


def test_noise_belongs_to_the_picture():
    several = drawn_noise(3, np.array([5, 9, 2]), (1, 2, 2))
    assert torch.equal(drawn_noise(3, np.array([9]), (1, 2, 2))[0], several[1])
    assert not torch.equal(drawn_noise(4, np.array([9]), (1, 2, 2))[0], several[1])


class Affine(nn.Module):
    """Predicts slope * x + offset, the offset a picture: at one timestep this holds the optimum of every loss here."""

    unconditional, label = 3, 0  # four classes as `NoisePredictor` has them, each with a fixed shift of its own
    shifts = torch.tensor([0.0, 0.5, -0.7, 0.3])

    def __init__(self, shape=(1, 2, 2)):
        super().__init__()
        self.slope, self.offset = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.zeros(1, *shape))

    def forward(self, noisy, timesteps, labels=None):
        shift = self.shifts[self.label] if labels is None else self.shifts[labels].view(-1, 1, 1, 1)
        return self.slope * noisy + self.offset + shift


SCHEDULE = torch.tensor([0.6])
TARGET, SURROGATE = random(1, 1, 2, 2, seed=7), random(1, 1, 2, 2, seed=8)
KNOWN = random(16, 1, 2, 2, seed=9)


def module_of(name: str):
    return import_module(method_module("instance", name))


def everything(target=TARGET, surrogate=SURROGATE, remember=KNOWN, seed=0, **changes) -> Context:
    """A context that lacks nothing, of four classes."""
    parts = {
        "timesteps": len(changes.get("alphas_cumprod", SCHEDULE)),
        "frozen": Affine(),
        "alphas_cumprod": SCHEDULE,
        "surrogate": surrogate,
        "neighbours": KNOWN[:3],
        "conditioning": Conditioning(torch.tensor([0]), torch.tensor(3), torch.tensor([1, 2])),
    }
    return Context("instance", Examples(target), Examples(remember), seed=seed, **{**parts, **changes})


def forget_with(name: str, network=None, **changes):
    network = network or Affine()
    options = {"steps": 300, "learning_rate": 0.02, "batch": 8, "settings": {}, "clip": 1e9} | changes
    log = train(module_of(name).direction, network, everything(seed=options.pop("seed", 0)), **options)
    return network, log


def denoised(network, image):
    noise = random(64, 1, 2, 2, seed=11)
    noisy = add_noise(image.expand(64, -1, -1, -1), noise, SCHEDULE, torch.zeros(64, dtype=torch.long))
    with torch.no_grad():
        return (noisy - (1 - SCHEDULE).sqrt() * network(noisy, None)) / SCHEDULE.sqrt()


def test_unpromptable_denoises_the_target_to_the_surrogate():
    # With the whole weight on forgetting the loss is zero exactly where the denoised target is the surrogate.
    network, log = forget_with(
        "unpromptable", steps=1500, settings={"weight": "const", "value": 1.0, "projection": "none"}
    )
    assert log[-1]["forget_loss"] < 1e-4 < log[0]["forget_loss"]
    assert torch.allclose(denoised(network, TARGET), SURROGATE.expand(64, -1, -1, -1), atol=0.05)


def test_a_surrogate_equal_to_the_target_gives_the_plain_gradient():
    step = recorded_step(surrogate=TARGET)
    module = module_of("unpromptable")
    found = module.direction(step, weight="const", value=0.5, projection="none")
    wanted = step.error_gradient("a", step.remember, step.remember.noise) / 2
    wanted = wanted + step.error_gradient("b", step.forget, step.forget.noise) / 2
    assert torch.allclose(found, wanted, atol=1e-6)


def recorded_step(
    surrogate=SURROGATE, micro_batch=8, network=None, frozen=None, schedule=SCHEDULE, size=8, places=None, index=0
):
    network, zeros = network or Affine(), np.zeros(size, np.int64)
    places = np.arange(size) if places is None else places
    context = everything(surrogate=surrogate, frozen=frozen or Affine(), alphas_cumprod=schedule)
    numbers = (context.number(stream, index) for stream in (Stream.REMEMBER, Stream.FORGET))
    remember = engine.draw(context.remember, np.arange(size), zeros, places, next(numbers))
    forget = engine.draw(context.target, zeros, zeros, places, next(numbers))
    return engine.Step(
        network,
        FlatParameters(network),
        context,
        remember,
        forget,
        targets=zeros[places],
        places=places,
        size=size,
        micro_batch=micro_batch,
        index=index,
    )


def changed(slope: float = 0.5) -> Affine:
    """A network that is no longer the frozen one."""
    network = Affine()
    with torch.no_grad():
        network.slope.fill_(slope)
        network.offset.copy_(random(1, 1, 2, 2, seed=12))
    return network


@pytest.mark.parametrize("name", METHODS)
def test_accumulating_over_small_batches_changes_nothing(name):
    module = module_of(name)
    whole, parts = (module.direction(recorded_step(micro_batch=size)) for size in (8, 3))
    assert whole.shape == (5,) and whole.abs().max() > 0
    assert torch.allclose(whole, parts, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_deterministic_and_logs_each_step(name):
    (first, log), (second, again) = (forget_with(name, steps=20) for _ in range(2))
    assert log == again and [row["step"] for row in log] == list(range(20))
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)
    other, _ = forget_with(name, steps=20, seed=1)
    assert any(not torch.equal(one, two) for one, two in zip(first.parameters(), other.parameters(), strict=True))


@pytest.fixture(scope="module")
def settled():
    """A network that denoises both the target and the rest as well as it can."""
    network = Affine()
    context = everything(remember=torch.cat([KNOWN, TARGET.expand(16, -1, -1, -1)]), seed=3)
    options = {"steps": 800, "learning_rate": 0.02, "batch": 16, "settings": {}}
    train(module_of("naive_deletion").direction, network, context, **options)
    return network


@pytest.mark.parametrize(
    ("name", "settings", "forgets"),
    [
        ("unpromptable", {"weight": "const", "value": 0.5}, True),
        ("neggrad", {}, True),
        ("neggrad_plus", {"alpha": 0.5}, True),
        ("erasediff_port", {"eta": 1.0}, True),
        ("erasediff_bome", {"eta": 1.0}, True),
        ("erasediff_bome", {"eta": 0.5, "barrier": "value", "inner_rate": 0.05}, True),
        ("siss", {"fraction": 0.9}, True),
        ("siss_no_is", {"fraction": 0.9}, True),
        ("retrack", {"share": 0.5}, True),
        ("duo", {"beta": 2.0}, True),
        ("naive_deletion", {}, False),
    ],
)
def test_a_method_raises_the_targets_loss_or_is_a_control(name, settings, forgets, settled):
    plain, control = Affine(), Affine()
    for other in (plain, control):
        other.load_state_dict(settled.state_dict())
    forget_with("naive_deletion", control, steps=40)
    forget_with(name, plain, steps=40, settings=settings)
    before, after = ((denoised(each, TARGET) - TARGET).square().mean().item() for each in (control, plain))
    assert (after > 1.02 * before) == forgets, (before, after)


def test_a_run_that_diverges_stops_with_its_log_and_its_last_weights():
    with pytest.raises(NotFinite, match="step") as caught:
        forget_with("neggrad", steps=400, learning_rate=1e30)
    assert all(np.isfinite(row["norm"]) for row in caught.value.log)
    _, log = forget_with("neggrad", steps=400, learning_rate=0.5, stop_above=4.0)
    assert len(log) < 400 and log[-1]["forget_loss"] > 4 * log[0]["forget_loss"]


def test_the_average_follows_the_weights():
    raw, _ = forget_with("naive_deletion", steps=100)
    averaged, _ = forget_with("naive_deletion", steps=100, average=0.95)
    assert not torch.equal(raw.offset, averaged.offset)
    assert (raw.offset - averaged.offset).abs().max() < 0.3


def test_flat_parameters_are_the_network():
    network = Affine()
    parameters = FlatParameters(network)
    parameters.values.fill_(2.0)
    assert network.slope == 2 and (network.offset == 2).all()
    for _ in range(2):  # passes back add up, until they are asked for
        network(torch.ones(1, 1, 2, 2), None).sum().backward()
    assert parameters.gradient().tolist() == [8, 2, 2, 2, 2] and [part.stop for part in parameters.parts] == [1, 5]
    assert parameters.gradient().tolist() == [0, 0, 0, 0, 0]


# Memory


def out_of_memory(kind: str) -> Exception:
    if kind == "gpu":
        return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    if kind == "numpy":
        return MemoryError("Unable to allocate 2.00 GiB")
    return RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried")


class Cramped(Affine):
    """Has room for so many images at a time."""

    def __init__(self, error: Exception, room: int = 2):
        super().__init__()
        self.error, self.room = error, room

    def forward(self, noisy, timesteps, labels=None):
        if len(noisy) > self.room:
            raise self.error
        return super().forward(noisy, timesteps, labels)


@pytest.mark.parametrize("kind", ["gpu", "cpu", "numpy"])
@pytest.mark.parametrize("name", ["unpromptable", "siss", "retrack", "erasediff_bome", "esd"])
def test_where_memory_does_not_suffice_smaller_batches_give_the_same_network(name, kind):
    (plain, log), (cramped, short) = (
        forget_with(name, network, steps=10) for network in (Affine(), Cramped(out_of_memory(kind)))
    )
    assert {row["micro_batch"] for row in log} == {8} and {row["micro_batch"] for row in short} == {2}
    assert torch.allclose(plain.offset, cramped.offset, atol=1e-5)
    assert torch.allclose(plain.slope, cramped.slope, atol=1e-5)


def test_memory_that_suffices_for_no_image_and_other_errors_are_raised(capsys):
    step = recorded_step(network=Cramped(out_of_memory("gpu"), room=0))
    with pytest.raises(torch.OutOfMemoryError):
        step.error_gradient("forget", step.forget, step.forget.noise)
    assert step.memory["micro_batch"] == 1
    assert "step 0: memory does not suffice for 8 at a time; from now on 4 are taken" in capsys.readouterr().out
    step = recorded_step(network=Cramped(RuntimeError("mat1 and mat2 shapes cannot be multiplied")))
    with pytest.raises(RuntimeError, match="mat1"):
        step.error_gradient("forget", step.forget, step.forget.noise)
    assert not step.memory


# Settings under which a method draws, or measures, more than its defaults have it do.
SHARED = {"erasediff_bome": {"barrier": "value", "inner_rate": 0.05}}


def one_of_two(rank: int, folder: Path) -> None:
    """A process of two that train together."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    trained = {}
    for name in METHODS:
        network, log = forget_with(name, steps=5, settings=SHARED.get(name, {}))
        trained[name] = {"state": network.state_dict(), "log": log}
    torch.save(trained, folder / f"{rank}.pt")
    if rank == 0:
        with pytest.raises(ValueError, match="a batch of 7 cannot be shared evenly by 2 processes"):
            forget_with("unpromptable", steps=1, batch=7)
    torch.distributed.destroy_process_group()


def test_two_processes_train_the_network_that_one_does(tmp_path):
    torch.multiprocessing.spawn(one_of_two, (tmp_path,), nprocs=2)
    both = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for name in METHODS:
        network, log = forget_with(name, steps=5, settings=SHARED.get(name, {}))
        for together in (each[name] for each in both):
            for key, wanted in network.state_dict().items():
                assert torch.allclose(together["state"][key], wanted, rtol=1e-4, atol=1e-5), (name, key)
            for one, two in zip(together["log"], log, strict=True):
                # Each of them sends half of every batch backwards.
                assert one["backwards"] == two["backwards"] // 2
                losses = [key for key in two if key.endswith("_loss")]
                assert [one[key] for key in losses] == pytest.approx([two[key] for key in losses], rel=1e-4)


class Filling(Cramped):
    """Runs out of memory with the second batch only."""

    def __init__(self, error: Exception):
        super().__init__(error, room=1000)

    def forward(self, noisy, timesteps, labels=None):
        predicted = super().forward(noisy, timesteps, labels)
        self.room = 2
        return predicted


def test_what_a_failed_attempt_left_of_a_gradient_does_not_count():
    network, weights = changed(), torch.linspace(0, 2, 8)
    filling = Filling(out_of_memory("cpu"))
    filling.load_state_dict(network.state_dict())
    whole, parts = recorded_step(network=network), recorded_step(network=filling, micro_batch=4)
    one, two = (each.error_gradient("forget", each.forget, each.forget.noise, weights) for each in (whole, parts))
    assert parts.memory == {"micro_batch": 2}
    assert torch.allclose(one, two, rtol=1e-5, atol=1e-7)
    assert parts.seen["forget_loss"] == pytest.approx(whole.seen["forget_loss"])


# Methods that know a class, or pairs


@pytest.mark.parametrize(("beta", "keep"), [(0.5, 1.0), (5.0, 0.0), (20.0, 0.3)])
def test_duos_gradient_is_that_of_its_loss(beta, keep):
    step = recorded_step(network=changed())
    found = module_of("duo").direction(step, beta=beta, keep=keep)
    batch, last = step.forget, torch.zeros(8, dtype=torch.long)

    def error(network, images):
        noisy = add_noise(images, batch.noise, SCHEDULE, batch.timesteps)
        return (network(noisy, None) - batch.noise).square().mean((1, 2, 3))

    better, worse = (
        error(step.network, images) - error(step.frozen, images).detach() for images in (step.surrogate, batch.images)
    )
    moved = (step.network(batch.noise, last) - step.frozen(batch.noise, last).detach()).square().mean()
    loss = -torch.nn.functional.logsigmoid(-beta * (better - worse)).mean() + keep * moved
    wanted = torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, list(step.network.parameters()))])
    assert wanted.abs().max() > 1e-3 and torch.allclose(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("eta", [0.0, 1.0, 2.5])
def test_esd_wants_the_prediction_that_leads_away_from_the_class(eta):
    step = recorded_step(network=changed())
    noisy, times, wanted, _ = away_from_concept(step, eta, 3.0, 20, 32)
    with torch.no_grad():
        none = step.frozen(noisy, times, torch.full_like(times, Affine.unconditional))
        own = step.frozen(noisy, times)
    assert torch.allclose(wanted, none + eta * (none - own)) and not torch.allclose(none, own)
    if eta == 0:
        assert torch.equal(wanted, none)
    found = module_of("esd").direction(step, eta=eta)
    again = recorded_step(network=changed()).gradient("forget", noisy, times, squared_errors(wanted))
    assert torch.allclose(found, again)


class Pointing(Affine):
    """Predicts the noise that leads from one image to what it is given: of its class, and of none, another image."""

    images = 0.1 * random(4, 1, 2, 2, seed=20)

    def forward(self, noisy, timesteps, labels=None):
        image = self.images[[self.label] * len(noisy) if labels is None else labels]
        return implied_noise(noisy, image, LINEAR.float(), timesteps)


@pytest.mark.parametrize("guidance", [0.0, 1.0, 3.0])
def test_the_paths_are_those_of_guided_deterministic_samples(guidance):
    step = recorded_step(frozen=Pointing(), schedule=LINEAR.float())
    points, times = guided_paths(step, guidance, 8, 5)
    assert points.shape == (5, 8, 1, 2, 2) and times[0] == 999 and times[-1] == 0 and (times.diff() < 0).all()
    # From noise of its own: no sample that a model is judged by starts there.
    judged = drawn_noise(0, np.arange(100), (1, 2, 2))
    assert not any(torch.equal(point, noise) for point in points[:, 0] for noise in judged)
    # Guidance goes past the class's image, away from that of no class; on the way there the noise stays the same.
    own, none = Pointing.images[Affine.label], Pointing.images[Affine.unconditional]
    image = (none + guidance * (own - none)).expand(5, -1, -1, -1)
    assert image.abs().max() < 1
    noise = implied_noise(points[:, 0], image, LINEAR.float(), times[:1].expand(5))
    for index, time in enumerate(times):
        wanted = add_noise(image, noise, LINEAR.float(), time.expand(5))
        assert torch.allclose(points[:, index], wanted, atol=1e-3), time


class Listening(Affine):
    """Keeps the classes it is asked for."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def forward(self, noisy, timesteps, labels=None):
        self.heard += [] if labels is None else labels.tolist()
        return super().forward(noisy, timesteps, labels)


def test_spm_is_esd_that_holds_the_other_classes():
    esd, spm = (module_of(name) for name in ("esd", "spm"))
    network = Listening()
    # As long as the network is the frozen one it changes no other class, whatever the anchor.
    step = recorded_step(network=network)
    assert torch.allclose(spm.direction(step, anchor=1000.0), esd.direction(recorded_step()))
    assert {1, 2} <= set(network.heard) <= {0, 1, 2} and step.seen["remember_norm"] == 0
    free, held = (spm.direction(recorded_step(network=changed()), anchor=anchor) for anchor in (0.0, 10.0))
    assert torch.allclose(free, esd.direction(recorded_step(network=changed())))
    # What is added leads back: along it the predictions come nearer to the frozen network's.
    network = changed()
    before, after = (network.slope - 0.3).abs().item(), (network.slope - 1e-3 * (held - free)[0] - 0.3).abs().item()
    assert after < before


# SISS and EraseDiff


def siss_gradients(step, mixture):
    """Gradients of both of SISS's losses at the step's points, anew: their two backwards are of two graphs."""
    chosen = torch.from_numpy(from_target(step, mixture)).view(-1, 1, 1, 1)
    kept, lost = step.remember, step.forget
    noisy = add_noise(torch.where(chosen, lost.images, kept.images), kept.noise, step.alphas_cumprod, kept.timesteps)
    wanted = [implied_noise(noisy, each.images, step.alphas_cumprod, kept.timesteps) for each in (kept, lost)]
    found = []
    for noise, weights in zip(wanted, importance_weights(*wanted, mixture), strict=True):
        loss = (weights * (step.network(noisy, None) - noise).square().mean((1, 2, 3))).mean()
        parts = torch.autograd.grad(loss, list(step.network.parameters()))
        found.append(torch.cat([part.reshape(-1) for part in parts]))
    return found


def test_the_forget_gradient_of_siss_has_its_nominal_share_at_every_step(monkeypatch):
    module, shares = module_of("siss"), []
    directed = module.direction

    def direction(step, **settings):
        kept, lost = siss_gradients(step, 0.5)
        found = directed(step, **settings)
        shares.append(float((kept - found).norm() / kept.norm()))
        assert torch.nn.functional.cosine_similarity(kept - found, lost, dim=0) == pytest.approx(1, abs=1e-4)
        return found

    monkeypatch.setattr(module, "direction", direction)
    forget_with("siss", changed(), steps=25, settings={"fraction": 0.2})
    assert shares == pytest.approx([0.2] * 25, rel=1e-3)


@pytest.mark.parametrize("mixture", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("size", [1, 8])
def test_a_point_of_siss_starts_from_the_target_as_often_as_the_mixture_says(size, mixture):
    drawn = np.concatenate(
        [from_target(recorded_step(size=size, index=index), mixture) for index in range(2000 // size)]
    )
    assert len(drawn) == 2000 and drawn.mean() == pytest.approx(
        mixture, abs=4 * np.sqrt(mixture * (1 - mixture) / 2000)
    )


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_where_a_point_of_siss_starts_depends_on_its_place_alone(processes):
    whole, shared = from_target(recorded_step(), 0.5), np.zeros(8, bool)
    for rank in range(processes):
        places = np.arange(rank, 8, processes)
        shared[places] = from_target(recorded_step(places=places), 0.5)
    assert (shared == whole).all() and 0 < whole.sum() < 8


@pytest.mark.parametrize("eta", [3.0, 10.0])
def test_the_bilevel_constraint_is_pushed_along_the_forget_gradient_alone(eta):
    step = recorded_step(network=changed(-0.5))
    found = module_of("erasediff_bome").direction(step, eta=eta)
    wanted = uniform_noise(step, centred=True)

    def gradient(batch, noise):
        loss = (step.network(step.noisy(batch), None) - noise).square().mean()
        parts = torch.autograd.grad(loss, list(step.network.parameters()))
        return torch.cat([part.reshape(-1) for part in parts])

    kept, lost = gradient(step.remember, step.remember.noise), gradient(step.forget, wanted)
    weight = max(0.0, eta - float(kept @ lost / lost.square().sum()))
    assert weight > 0 and torch.allclose(found, kept + weight * lost, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_barrier_of_the_value_is_what_adam_gains_on_the_forget_loss(steps):
    step = recorded_step(network=changed())
    before = step.parameters.values.clone()
    module = module_of("erasediff_bome")
    found = module.direction(step, eta=70.0, barrier="value", inner_steps=steps, inner_rate=0.02)
    assert torch.equal(step.parameters.values, before)
    # The same problem with torch's Adam on a network of its own.
    network, wanted = changed(), uniform_noise(step, centred=True)
    optimiser = torch.optim.Adam(network.parameters(), 0.02)

    def loss():
        return (network(step.noisy(step.forget), None) - wanted).square().mean()

    start = loss().item()
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    assert step.seen["gap"] == pytest.approx(start - loss().item(), rel=1e-4) and step.seen["gap"] > 0
    kept = step.error_gradient("a", step.remember, step.remember.noise)
    lost = step.error_gradient("b", step.forget, wanted)
    weight = max(0.0, (70.0 * step.seen["gap"] - float(kept @ lost)) / float(lost @ lost))
    assert weight > 0 and torch.allclose(found, kept + weight * lost, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match=r"'norm'.*gradient or value"):
        module.direction(step, barrier="norm")
