"""Inversion: against diffusers' schedulers and closed forms; every solver; pictures are each other's strangers."""

import math

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler

from palimpsest.memory.ddim import psi, transitions
from palimpsest.memory.inversion import SAMPLERS, generate, invert
from palimpsest.memory.solvers import SOLVERS, Equation

STABLE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
KINDS = {
    "leading": STABLE,
    "trailing": {"clip_sample": False, "timestep_spacing": "trailing"},
    "leading from clean": {"clip_sample": False},
}
ITERATING = ("fixed_point", "anderson")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scheduled(steps: int = 20, kind: str = "leading") -> tuple[DDIMScheduler, dict]:
    """A sampler, and what `invert` and `generate` are told of it."""
    sampler = DDIMScheduler(**KINDS[kind])
    sampler.set_timesteps(steps)
    told = {"alphas_cumprod": sampler.alphas_cumprod, "timesteps": sampler.timesteps}
    return sampler, told | {"final_alpha": float(sampler.final_alpha_cumprod)}


def network(seed: int = 0, channels: int = 2, gain: float = 1.0):
    """predict of a small random network that knows the time; the pictures have one more channel per condition."""
    generator = torch.Generator().manual_seed(seed)
    first = gain * torch.randn(6, channels, 3, 3, generator=generator, dtype=torch.float64) / 4
    last = torch.randn(channels, 6, 3, 3, generator=generator, dtype=torch.float64) / 8

    def predict(noisy, timestep, rows):
        convolve = torch.nn.functional.conv2d
        hidden = torch.tanh(convolve(noisy, first.to(noisy.dtype), padding=1) + timestep / 1000)
        return convolve(hidden, last.to(noisy.dtype), padding=1)

    return predict


def pictures(n: int = 3, seed: int = 1, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(n, 2, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gaussian(variance: float, alphas_cumprod: torch.Tensor):
    """predict of data N(0, variance I): the noise expected is sqrt(1 - a) / (a variance + 1 - a) times the latents."""
    shares = alphas_cumprod.double().tolist()

    def predict(noisy, timestep, rows):
        return slope(variance, shares[timestep]) * noisy

    return predict


def slope(variance: float, share: float) -> float:
    return math.sqrt(1 - share) / (share * variance + 1 - share)


def solved(solver: str, iterations: int = 60, tolerance: float = 1e-12, **told):
    return {"solver": solver, "iterations": iterations, "tolerance": tolerance, **told}


def worst(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


# Against diffusers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 7, 20, 50])
def test_generate_is_the_sampler_of_diffusers(kind, steps):
    sampler, told = scheduled(steps, kind)
    predict, noisy = network(), pictures(dtype=torch.float32)
    found = generate(predict, noisy, **told)
    for timestep in sampler.timesteps:
        noisy = sampler.step(predict(noisy, int(timestep), None), timestep, noisy).prev_sample
    assert worst(found, noisy) < 2e-5 * float(noisy.abs().max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [7, 20, 50])
def test_ddim_is_the_inverse_scheduler_of_diffusers(kind, steps):
    _, told = scheduled(steps, kind)
    inverse = DDIMInverseScheduler(**{"set_alpha_to_one": True, **KINDS[kind]})
    inverse.set_timesteps(steps)
    predict, latents = network(), pictures(dtype=torch.float32)
    found = invert(predict, latents, **solved("ddim", **told))
    for timestep in inverse.timesteps:
        latents = inverse.step(predict(latents, int(timestep), None), timestep, latents).prev_sample
    assert worst(found.seeds, latents) < 1e-5
    assert found.evaluations.tolist() == [steps] * 3


# Closed forms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ITERATING)
def test_the_seeds_of_a_gaussian_are_the_closed_form(kind, solver):
    sampler, told = scheduled(20, kind)
    latents = pictures()
    found = invert(gaussian(0.3, told["alphas_cumprod"]), latents, **solved(solver, 200, **told))
    # z_s = (z_t - weight k z_t) / scale, with everything read from the sampler itself.
    factor = 1.0
    for timestep in map(int, reversed(sampler.timesteps)):
        one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        noise = slope(0.3, float(sampler.alphas_cumprod[timestep].double())) * one
        factor /= float(sampler.step(noise, timestep, one).prev_sample)
    assert worst(found.seeds, factor * latents) < 1e-5  # the scheduler computes in float32
    assert found.residuals.shape == (20, 3) and float(found.residuals.max()) < 1e-12
    assert (found.evaluations > 20).all()


def test_heun_is_of_second_order_and_the_implicit_step_of_first():
    errors = {}
    for solver in ("fixed_point", "heun"):
        for steps in (50, 100):
            _, told = scheduled(steps)
            shares, last = told["alphas_cumprod"].double(), int(told["timesteps"][0])
            found = invert(gaussian(0.3, shares), pictures(), **solved(solver, 200, **told))
            # The flow keeps the number of standard deviations.
            spread = [math.sqrt(a * 0.3 + 1 - a) for a in (told["final_alpha"], float(shares[last]))]
            errors[solver, steps] = worst(found.seeds, pictures() * spread[1] / spread[0])
    assert errors["fixed_point", 50] / errors["fixed_point", 100] == pytest.approx(2, rel=0.25)
    assert errors["heun", 50] / errors["heun", 100] == pytest.approx(4, rel=0.35)
    assert errors["heun", 50] < errors["fixed_point", 100] / 5


def test_where_plain_iteration_runs_away_anderson_arrives():
    _, told = scheduled()
    steps = {
        step.timestep: step for step in transitions(told["alphas_cumprod"], told["timesteps"], told["final_alpha"])
    }
    stretch = torch.linspace(0.2, 1.6, 6, dtype=torch.float64)  # q by column: some contract, some do not

    def predict(noisy, timestep, rows):
        return -stretch.to(noisy.dtype) / steps[timestep].weight * noisy

    factor = math.prod(step.scale for step in steps.values()) / (1 + stretch) ** len(steps)
    plain = invert(predict, pictures(), **solved("fixed_point", 30, 1e-10, **told))
    found = invert(predict, pictures(), **solved("anderson", 30, 1e-10, **told))
    assert float(plain.residuals[-1].min()) > 1
    assert float(found.residuals.max()) < 1e-10
    assert worst(found.seeds, factor * pictures()) < 1e-9
    assert (found.evaluations < 20 * 25).all()


def test_a_sharp_bend_is_solved_with_shorter_steps():
    """F(z) = scale z_s - tanh(10 z), q = 10 at 0: the root of a monotone function of each coordinate."""
    (step,) = [each for each in transitions(**scheduled(50)[1]) if each.timestep == 501]
    start = pictures(5)

    def predict(noisy, timestep, rows):
        return -torch.tanh(10 * noisy) / step.weight

    given = Equation(predict, step, start, start)
    found = SOLVERS["anderson"](given, start, 100, 1e-9)
    assert float(found.residuals.max()) < 1e-9
    low, high = start.new_full(start.shape, -9.0), start.new_full(start.shape, 9.0)
    for _ in range(60):
        middle = (low + high) / 2
        above = middle + torch.tanh(10 * middle) > step.scale * start
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    assert worst(found.latents, low) < 1e-7
    # Cut short, it still ends near its best guess.
    short = SOLVERS["anderson"](given, start, 8, 1e-9)
    left = (given.image(short.latents, torch.arange(5)) - short.latents).square().mean((1, 2, 3)).sqrt()
    assert (left < 2 * short.residuals).all()


# Round trips ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ITERATING)
def test_sampling_takes_the_seeds_back_and_inversion_the_samples(kind, solver):
    _, told = scheduled(20, kind)
    predict, latents = network(), pictures()
    found = invert(predict, latents, **solved(solver, **told))
    assert worst(generate(predict, found.seeds, **told), latents) < 1e-8
    drawn = generate(predict, latents, **told)
    assert worst(invert(predict, drawn, **solved(solver, **told)).seeds, latents) < 1e-8


@pytest.mark.parametrize("kind", KINDS)
def test_heun_comes_back_by_its_own_sampler_and_better_with_more_steps(kind):
    errors = []
    for steps in (25, 50):
        _, told = scheduled(steps, kind)
        predict, latents = network(), pictures()
        seeds = invert(predict, latents, **solved("heun", **told)).seeds
        errors.append(worst(generate(predict, seeds, **told, sampler=SAMPLERS["heun"]), latents))
        assert errors[-1] < worst(generate(predict, seeds, **told), latents) / 3
    assert errors[0] > 2.5 * errors[1]


def test_solvers_come_as_near_as_they_should():
    """Five iterations of each: what the seeds give back, and what is left of the equation, in order."""
    _, told = scheduled()
    predict, latents, errors, residuals = network(), pictures(), {}, {}
    for solver in SOLVERS:
        found = invert(predict, latents, **solved(solver, 5, 1e-9, **told), verify=True)
        errors[solver] = worst(generate(predict, found.seeds, **told, sampler=SAMPLERS[solver]), latents)
        residuals[solver] = float(found.residuals.mean())
    for found in (errors, residuals):
        assert 0 < found["anderson"] < found["fixed_point"] / 3 < found["renoise"] / 3 < found["ddim"] / 9
        assert found["renoise"] < found["rnri"] < found["ddim"] / 3
        assert found["fixed_point"] < found["rnri_gradient"] < found["ddim"] / 3


def test_a_verified_residual_is_that_of_the_result():
    _, told = scheduled(1)
    predict, latents = network(), pictures()
    (step,) = transitions(**told)
    for solver in SOLVERS:
        found = invert(predict, latents, **solved(solver, 3, 1e-9, **told), verify=True)
        image = step.scale * latents + step.weight * predict(found.seeds, step.timestep, None)
        expected = (image - found.seeds).flatten(1).square().mean(1).sqrt()
        assert found.residuals[0].tolist() == pytest.approx(expected.tolist())
        plain = invert(predict, latents, **solved(solver, 3, 1e-9, **told))
        assert (plain.seeds == found.seeds).all() and (plain.evaluations == found.evaluations).all()
        # An iteration more; an average, or another equation, need not be nearer.
        assert solver in ("renoise", "heun") or (plain.residuals > found.residuals).all()


# Single solvers ------------------------------------------------------------------------------------------------------


def equation(timestep: int) -> Equation:
    """A step of a random network that ends at a timestep."""
    _, told = scheduled(50)
    step = next(step for step in transitions(**told) if step.timestep == timestep)
    return Equation(network(), step, pictures(), pictures(seed=2))


@pytest.mark.parametrize(("timestep", "averages"), [(241, True), (261, False)])
def test_renoise_averages_the_first_noises_of_early_steps_only(timestep, averages):
    given = equation(timestep)
    step, guess, noises = given.step, given.cleaner, []
    for _ in range(6):
        noises.append(given.predict(guess, timestep, None))
        guess = step.scale * given.cleaner + step.weight * noises[-1]
    noise = sum(noises[:5]) / 5 if averages else noises[-1]
    found = SOLVERS["renoise"](given, given.cleaner, 5, 1e9)
    assert worst(found.latents, step.scale * given.cleaner + step.weight * noise) < 1e-12
    assert found.evaluations.tolist() == [6] * 3


def test_the_released_newton_step_moves_every_coordinate_by_one_length():
    given, guesses = equation(501), []
    predict = given.predict

    def watched(noisy, timestep, rows):
        guesses.append(noisy)
        return predict(noisy, timestep, rows)

    found = SOLVERS["rnri"](Equation(watched, given.step, given.cleaner, given.clean), given.cleaner, 2, 0.0)
    first, second = guesses
    image = given.image(first, torch.arange(3))
    far = (image / math.sqrt(given.step.alpha) - given.clean) / psi(given.step.alpha)
    length = (image - first).abs().mean((1, 2, 3)) + 0.1 * far.square().mean((1, 2, 3)) / 2
    assert worst((second - first).abs(), length.view(3, 1, 1, 1).expand_as(first)) < 1e-12
    assert ((second - first).sign() == (image - first).sign()).all()
    kept = [float(worst(found.latents[0], given.image(guess, torch.arange(3))[0])) for guess in guesses]
    assert min(kept) == 0 and found.evaluations.tolist() == [2] * 3


def test_the_gradient_of_newtons_step_goes_through_the_network():
    given, guesses = equation(501), []
    # d|F_i - z_i| / dz_i = (weight k - 1) sign(F_i - z_i), and weight k is 0.3.
    gain = 0.3 / given.step.weight

    def predict(noisy, timestep, rows):
        guesses.append(noisy.detach())
        return gain * noisy

    found = SOLVERS["rnri_gradient"](Equation(predict, given.step, given.cleaner, given.clean), given.cleaner, 2, 0.0)
    residual = (given.step.scale + 0.3 - 1) * given.cleaner
    move = residual.abs().mean((1, 2, 3), keepdim=True) / 0.7 * residual.sign()
    assert worst(guesses[1] - guesses[0], move) < 1e-12
    assert found.evaluations.tolist() == [6] * 3 and not found.latents.requires_grad


# Pictures and batches ------------------------------------------------------------------------------------------------


def conditioned(strengths: list[float], seen: list | None = None):
    """predict whose strength is the picture's own condition; what it is asked is noted in `seen`."""
    inner, strengths = network(), torch.tensor(strengths, dtype=torch.float64)

    def predict(noisy, timestep, rows):
        if seen is not None:
            seen.append(rows.tolist())
        return strengths[rows].view(-1, 1, 1, 1) * inner(noisy, timestep, rows)

    return predict


@pytest.mark.parametrize("solver", SOLVERS)
def test_results_depend_on_no_other_picture_and_on_no_order(solver):
    _, told = scheduled(10)
    strengths, latents = [1.0, 0.0, 1.5, 0.3], pictures(4)
    options = solved(solver, 6, 1e-5, **told)
    whole = invert(conditioned(strengths), latents, **options)
    order = [2, 0, 3, 1]
    turned = invert(conditioned([strengths[row] for row in order]), latents[order], **options)
    assert worst(turned.seeds, whole.seeds[order]) < 1e-9
    assert turned.evaluations.tolist() == whole.evaluations[order].tolist()
    for row in range(4):
        alone = invert(conditioned([strengths[row]]), latents[row : row + 1], **options)
        assert worst(alone.seeds[0], whole.seeds[row]) < 1e-9
        assert alone.evaluations.tolist() == whole.evaluations[row : row + 1].tolist()
        assert alone.residuals[:, 0].tolist() == pytest.approx(whole.residuals[:, row].tolist(), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("solver", ITERATING)
def test_a_picture_that_has_converged_is_evaluated_no_more(solver):
    _, told = scheduled(10)
    seen = []
    found = invert(conditioned([1.0, 0.0, 0.3], seen), pictures(), **solved(solver, 40, 1e-7, **told))
    assert found.evaluations.tolist() == [sum(row in rows for rows in seen) for row in range(3)]
    # Without noise the first image is the fixed point already, and the second evaluation says so; where a step starts
    # from how the one before it ended, one is enough.
    assert found.evaluations[1] == (11 if solver == "anderson" else 20)
    assert found.evaluations[1] < found.evaluations[2] < found.evaluations[0] < 200
    assert float(found.residuals.max()) <= 1e-7
    tighter = invert(conditioned([1.0, 0.0, 0.3]), pictures(), **solved(solver, 40, 1e-9, **told))
    assert tighter.evaluations[0] > found.evaluations[0]


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_broken_picture_breaks_no_other(solver):
    _, told = scheduled(10)
    options = solved(solver, 6, 1e-7, **told)
    found = invert(conditioned([1.0, math.nan, 0.3]), pictures(), **options)
    whole = invert(conditioned([1.0, 1.0, 0.3]), pictures(), **options)
    assert worst(found.seeds[[0, 2]], whole.seeds[[0, 2]]) < 1e-12
    assert not found.seeds[1].isfinite().any() or found.residuals[:, 1].isnan().any()


def test_latents_of_half_precision_are_inverted_in_single():
    _, told = scheduled(10)
    half = pictures(dtype=torch.float32).half()
    found = invert(network(), half, **solved("anderson", 20, 1e-6, **told))
    assert found.seeds.dtype == found.residuals.dtype == torch.float32
    assert worst(found.seeds, invert(network(), half.double(), **solved("anderson", 20, **told)).seeds) < 1e-4
