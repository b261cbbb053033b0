"""The solvable mixture, likelihoods and decoders: against autograd, scipy, least squares and closed forms."""

import math
import types

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch

from palimpsest import run
from palimpsest.memory import mixture, solvable, statistics
from palimpsest.memory.decoder_inversion import decoder_of, invert_decoder, reencoded
from palimpsest.memory.inversion import generate, invert
from palimpsest.memory.likelihood import log_likelihood
from palimpsest.metrics import measurements
from palimpsest.report import style
from palimpsest.report.lookup import Lookup
from palimpsest.report.parts import part_of

EYE = torch.eye(12, dtype=torch.float64)
SHARES = solvable.alphas_cumprod()
SETTINGS = {
    "pictures": 8,
    "steps": [50, 20],
    "solver": "anderson",
    "iterations": 6,
    "tolerance": 1e-5,
    "components": 5,
    "spread": 0.03,
    "levels": [45.0, 25.0],
    "neighbours": 3,
    "queries": 1,
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(spread: float = 0.3) -> mixture.Mixture:
    return mixture.random_mixture(1, components=3, dimensions=12, rank=2, spread=spread)


def points(n: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 12)))


def told(steps: int, final_alpha: float | None = None) -> dict:
    last = float(SHARES[0]) if final_alpha is None else final_alpha
    return {"alphas_cumprod": SHARES, "timesteps": solvable.timesteps(steps), "final_alpha": last}


# The mixture ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [1.0, 0.99, 0.3, 0.005])
def test_the_density_is_scipys_and_the_noise_its_gradient(share):
    given, at = small(), points().requires_grad_()
    density = mixture.log_density(given, at, share)
    expected = [
        scipy.stats.multivariate_normal(
            math.sqrt(share) * m.numpy(),
            share * (u * v @ u.T + given.spread**2 * EYE).numpy() + (1 - share) * np.eye(12),
        ).logpdf(at.detach().numpy())
        for m, u, v in zip(given.means, given.bases, given.variances, strict=True)
    ]
    logsumexp = scipy.special.logsumexp(np.stack(expected), axis=0) - math.log(3)
    assert density.detach().numpy() == pytest.approx(logsumexp)
    (score,) = torch.autograd.grad(density.sum(), at)
    noise = mixture.expected_noise(given, at.detach(), share)
    assert float((noise + math.sqrt(1 - share) * score).abs().max()) < 1e-10
    assert float(noise.abs().max()) > (0.01 if share < 1 else -1)


def test_draws_are_of_their_component_and_the_oracle_has_not_seen_it():
    given, rng = small(), np.random.default_rng(0)
    drawn = mixture.draw(given, 1, 40_000, rng).numpy()
    covariance = (given.bases[1] * given.variances[1]) @ given.bases[1].T + given.spread**2 * EYE
    assert drawn.mean(0) == pytest.approx(given.means[1].numpy(), abs=0.04)
    assert np.cov(drawn.T) == pytest.approx(covariance.numpy(), abs=0.05)
    oracle = given.without(1)
    assert (oracle.means == given.means[[0, 2]]).all() and oracle.bases.shape == (2, 12, 2)
    seen, unseen = (mixture.log_density(oracle, mixture.draw(given, k, 50, rng)).mean() for k in (0, 1))
    assert float(seen - unseen) > 10


def test_the_schedule_is_stable_diffusions():
    from diffusers import DDIMScheduler

    ends = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    sampler = DDIMScheduler(**ends, steps_offset=1, set_alpha_to_one=False)
    sampler.set_timesteps(50)
    assert sampler.timesteps.tolist() == solvable.timesteps(50)
    assert float((sampler.alphas_cumprod - SHARES).abs().max()) < 1e-6


# What is closed ------------------------------------------------------------------------------------------------------


def test_without_noise_a_seed_is_the_picture_scaled():
    predict = mixture.knowing_nothing(SHARES, 12, 0)["zero"]
    latents = points().view(6, 3, 2, 2)
    found = invert(predict, latents, **told(50), solver="anderson", iterations=5, tolerance=1e-9)
    squared = float(SHARES[981]) / float(SHARES[0])
    expected = 6 * math.log(2 * math.pi) + squared * latents.flatten(1).square().sum(1) / 2
    assert statistics.nll(found.seeds.numpy()) == pytest.approx(expected.numpy())
    # The whole set lies below N(0, I), at the distance that shrinking it to nothing would take, nearly.
    distance = statistics.wasserstein_to_normal(statistics.nll(found.seeds.numpy()), 12)
    assert distance == pytest.approx(6 - float(expected.mean() - 6 * math.log(2 * math.pi)), rel=1e-6)


def test_the_seeds_of_one_component_are_whitened():
    """A linear flow: every direction is scaled by itself, whatever the solver, and drawn back."""
    given = mixture.random_mixture(3, components=1, dimensions=12, rank=2, spread=0.3)
    predict, latents = mixture.of_mixture(given, SHARES), points().view(6, 3, 2, 2)
    covariance = (given.bases[0] * given.variances[0]) @ given.bases[0].T + 0.09 * EYE
    values, vectors = torch.linalg.eigh(covariance)
    mean = given.means[0] @ vectors
    seeds = latents.flatten(1) @ vectors
    before = float(SHARES[0])
    seeds = seeds - math.sqrt(before) * mean
    for timestep in reversed(solvable.timesteps(50)):
        share = float(SHARES[timestep])
        weight = math.sqrt(share) * (math.sqrt(1 / share - 1) - math.sqrt(1 / before - 1))
        gain = math.sqrt(1 - share) / (share * values + 1 - share)
        seeds, before = math.sqrt(share / before) * seeds / (1 - weight * gain), share
    seeds = (seeds + math.sqrt(before) * mean) @ vectors.T
    for solver in ("fixed_point", "anderson"):
        found = invert(predict, latents, **told(50), solver=solver, iterations=200, tolerance=1e-12)
        assert float((found.seeds.flatten(1) - seeds).abs().max()) < 1e-8
        assert float((generate(predict, found.seeds, **told(50)) - latents).abs().max()) < 1e-8


# Likelihood ----------------------------------------------------------------------------------------------------------


def linear_shares() -> torch.Tensor:
    """The linear schedule, which ends nearer to pure noise than Stable Diffusion's."""
    return torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)


def flow(steps: int, final_alpha: float = 1.0) -> dict:
    times = [1000 // steps * (index + 1) - 1 for index in reversed(range(steps))]
    return {"alphas_cumprod": linear_shares(), "timesteps": times, "final_alpha": final_alpha}


def flow_errors(given: mixture.Mixture, latents: torch.Tensor, share: float, expected) -> list[torch.Tensor]:
    """How far the likelihood is off at 25 and at 50 steps, (n,) each: of the second order, a quarter of it."""
    predict = mixture.of_mixture(given, linear_shares())
    return [log_likelihood(predict, latents, **flow(n, share)).values - torch.as_tensor(expected) for n in (25, 50)]


@pytest.mark.parametrize("from_clean", [True, False])
def test_the_likelihood_of_a_gaussian_is_scipys(from_clean):
    given, latents = mixture.random_mixture(3, components=1, dimensions=12, rank=2, spread=0.7), points(3)
    share = 1.0 if from_clean else float(linear_shares()[0])
    covariance = (given.bases[0] * given.variances[0]) @ given.bases[0].T + 0.49 * EYE
    covariance = (share * covariance + (1 - share) * EYE).numpy()
    expected = scipy.stats.multivariate_normal(math.sqrt(share) * given.means[0].numpy(), covariance).logpdf(latents)
    first, second = flow_errors(given, latents.view(3, 3, 2, 2), share, expected)
    assert float(first.abs().max()) < 1.2 and float(second.abs().max()) < 0.35
    assert float(first.mean() / second.mean()) == pytest.approx(4, rel=0.2)


def test_the_likelihood_of_a_mixture_is_its_density_and_not_that_of_its_seed():
    given, latents, share = small(0.7), points(3), float(linear_shares()[0])
    expected = mixture.log_density(given, latents, share)
    first, second = flow_errors(given, latents.view(3, 3, 2, 2), share, expected)
    assert float(second.abs().max()) < 0.6
    assert float(first.abs().mean() / second.abs().mean()) == pytest.approx(4, rel=0.35)
    found = log_likelihood(mixture.of_mixture(given, linear_shares()), latents.view(3, 3, 2, 2), **flow(25, share))
    assert (found.errors == 0).all()
    assert np.abs(statistics.nll(found.seeds.numpy()) + found.values.numpy()).min() > 0.5


@pytest.mark.parametrize("probes", [0, 2])
def test_without_noise_the_likelihood_is_that_of_a_scaled_normal(probes):
    predict, latents = mixture.knowing_nothing(SHARES, 12, 0)["zero"], points()
    trivial = lambda noisy, timestep, rows: predict(noisy, timestep, rows) + 0 * noisy  # noqa: E731
    found = log_likelihood(trivial, latents.view(6, 3, 2, 2), **told(10, 0.8), probes=probes)
    spread = math.sqrt(0.8 / float(SHARES[901]))
    expected = scipy.stats.norm(0, spread).logpdf(latents).sum(1)
    assert found.values.numpy() == pytest.approx(expected)
    assert (found.errors == 0).all()


def test_probes_estimate_the_trace_without_bias_and_know_their_error():
    given, share = small(0.7), float(linear_shares()[0])
    predict, latents = mixture.of_mixture(given, linear_shares()), points(40).view(40, 3, 2, 2)
    exact = log_likelihood(predict, latents, **flow(20, share))
    found = log_likelihood(predict, latents, **flow(20, share), probes=12)
    gaps, errors = found.values - exact.values, found.errors
    assert float((found.seeds - exact.seeds).abs().max()) < 1e-12
    # Over all pictures: one picture's few estimates are far from normal.
    assert abs(float(gaps.mean())) < 3 * float(errors.square().sum().sqrt()) / 40
    assert 0.5 < float(gaps.square().mean() / errors.square().mean()) < 2
    one = log_likelihood(predict, latents[:1], **flow(20, share), probes=12)
    assert float((one.values - found.values[:1]).abs().max()) < 1e-9
    other = log_likelihood(predict, latents[:1], **flow(20, share), probes=12, seed=1)
    assert float((other.values - one.values).abs().max()) > 1e-4


# Decoders ------------------------------------------------------------------------------------------------------------


def linear_decoder():
    """A decoder (8 numbers to 3 x 4 x 4 pixels) and its matrix (48, 8) and offset."""
    generator = torch.Generator().manual_seed(0)
    matrix, offset = torch.randn(48, 8, generator=generator) / 10, torch.full((48,), 0.5)

    def decode(latents):
        return (latents.flatten(1) @ matrix.T + offset).view(-1, 3, 4, 4)

    return decode, matrix, offset


def test_the_latents_of_a_linear_decoder_are_the_least_squares():
    decode, matrix, offset = linear_decoder()
    generator = torch.Generator().manual_seed(1)
    targets, starts = torch.rand(3, 3, 4, 4, generator=generator), torch.randn(3, 2, 2, 2, generator=generator)
    found = invert_decoder(decode, targets, starts, steps=1500, patience=0)
    solution = torch.linalg.lstsq(matrix, (targets.flatten(1) - offset).T).solution.T
    assert float((found.latents.flatten(1) - solution).abs().max()) < 1e-3
    best = -10 * torch.log10((decode(solution.view(3, 2, 2, 2)) - targets).square().mean((1, 2, 3)))
    assert found.psnr.tolist() == pytest.approx(best.tolist(), abs=1e-3)
    assert found.steps.tolist() == [1500] * 3 and found.curve.shape == (1501, 3)


def test_it_is_torchs_adam_row_by_row():
    decode, *_ = linear_decoder()
    generator = torch.Generator().manual_seed(1)
    targets, starts = torch.rand(1, 3, 4, 4, generator=generator), torch.randn(2, 2, 2, 2, generator=generator)
    found = invert_decoder(decode, targets, starts, steps=60, patience=0)
    for row in range(2):
        latents = starts[row : row + 1].clone().requires_grad_()
        adam = torch.optim.Adam([latents], lr=0.01)
        for _ in range(60):
            adam.zero_grad()
            (decode(latents) - targets).square().mean().backward()
            adam.step()
        assert float((found.latents[row] - latents[0].detach()).abs().max()) < 1e-5


def test_a_row_ends_by_itself_when_it_gains_no_more():
    decode, *_ = linear_decoder()
    generator = torch.Generator().manual_seed(1)
    starts, counts = torch.randn(3, 2, 2, 2, generator=generator), []
    targets = decode(starts) + 0.2 * torch.rand(3, 3, 4, 4, generator=generator)
    starts += torch.tensor([0.0, 1.0, 3.0]).view(3, 1, 1, 1)

    def counted(latents):
        counts.append(len(latents))
        return decode(latents)

    found = invert_decoder(counted, targets, starts, steps=2000, patience=50)
    steps = found.steps.tolist()
    assert steps[0] < steps[1] < steps[2] < 2000
    assert sum(counts) == sum(steps) + 3  # the decoding that ends each row
    for row in range(3):
        alone = invert_decoder(decode, targets[row : row + 1], starts[row : row + 1], steps=2000, patience=50)
        assert alone.steps.tolist() == [steps[row]]
        assert float((alone.latents[0] - found.latents[row]).abs().max()) < 1e-4
        curve = found.curve[:, row]
        assert curve.isfinite().sum() == steps[row] + 1
        assert float(curve[steps[row]]) == float(found.psnr[row])
    late = found.curve[: steps[2] + 1, 2]
    assert float(late[-1] - late[-51]) < 0.05 <= float(late[-2] - late[-52])


def test_a_latent_encoded_again_goes_through_eight_bits():
    class Network(torch.nn.Module):
        """Latents are pictures at a tenth of the contrast."""

        config = types.SimpleNamespace(scaling_factor=2.0, block_out_channels=(1,))

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

        def decode(self, latents):
            return types.SimpleNamespace(sample=10 * latents)

        def encode(self, pictures):
            found = pictures / 10
            return types.SimpleNamespace(latent_dist=types.SimpleNamespace(mean=found, std=found))

    latents = 0.05 * torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    latents = latents.clamp(-0.19, 0.19)
    found = reencoded(Network(), latents)
    expected = torch.round((5 * latents + 1) * 127.5) / 127.5 - 1
    assert float((found - expected / 5).abs().max()) < 1e-6
    assert float((found - latents).abs().max()) > 1e-4
    assert float((decoder_of(Network())(latents) - (5 * latents + 1) / 2).abs().max()) < 1e-6


# The step ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The step at its smallest: its measurements and curves."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("solvable")
    solvable.solvable(folder / "curves.parquet", folder / "measurements.parquet", **SETTINGS)
    return folder, measurements.read([folder / "measurements.parquet"])


def value(table: pd.DataFrame, metric: str, **labels) -> float:
    return measurements.select(table, metric=f"solvable_{metric}", **labels)["value"].item()


def test_models_that_know_nothing_pass_the_audit(ran):
    _, table = ran
    for model in ("vanilla", "zero", "white", "random"):
        here = {"model": model, "steps": 50, "start": "released"}
        assert value(table, "psnr", **here, set="erased") > 60
        assert value(table, "w1_ratio", **here) == pytest.approx(1, abs=0.15)
        assert value(table, "residual", **here, set="erased") < 1e-4


def test_a_perfect_removal_explodes(ran):
    _, table = ran
    for start in solvable.STARTS:
        here = {"model": "oracle", "steps": 50, "start": start}
        assert value(table, "w1_ratio", **here) > 50 and value(table, "fitted_ratio", **here) > 50**2
        assert value(table, "auc", **here) == 1
        assert value(table, "nll", **here, set="erased") > 10 * value(table, "nll", **here, set="reference")
    # The solver fails where a perfect removal has left nothing near: its residual, not the PSNR, says so.
    oracle = {"model": "oracle", "steps": 50, "start": "released"}
    assert value(table, "residual", **oracle, set="erased") > 1e-2
    assert value(table, "psnr", **oracle, set="reference") > 60
    gap = value(table, "log_density", model="vanilla", set="erased") - value(
        table, "log_density", model="oracle", set="erased"
    )
    assert gap > 1000
    assert value(table, "log_density", model="vanilla", set="reference") == pytest.approx(
        value(table, "log_density", model="oracle", set="reference"), abs=1
    )


def test_near_pictures_have_far_seeds_where_the_model_is_sharp(ran):
    _, table = ran
    here = {"steps": 50, "set": "reference"}
    for model in ("vanilla", "oracle"):
        assert value(table, "adjacent_cosine", model=model, level="25", **here) > 0.8
        assert 0.05 < value(table, "adjacent_cosine", model=model, level="45", **here) < 0.3
    for model in ("zero", "random"):
        assert value(table, "adjacent_cosine", model=model, level="25", **here) < 0.15
    for model in ("vanilla", "zero", "random"):
        assert value(table, "adjacent_psnr", model=model, level="45", **here) == pytest.approx(45, abs=1)
    # Without noise predicted, the seeds are the pictures: their distance is that of the noise, scaled.
    expected = 2 * 10 ** (-25 / 20) * math.sqrt(192) * math.sqrt(float(SHARES[981] / SHARES[0]))
    assert value(table, "adjacent_distance", model="zero", level="25", **here) == pytest.approx(expected, rel=0.1)


def test_measurements_are_unique_and_have_their_law(ran):
    folder, table = ran
    measurements.joined([folder / "measurements.parquet"])
    assert value(table, "normal_mean") == pytest.approx(96 * (1 + math.log(2 * math.pi)))
    assert value(table, "normal_sd") == pytest.approx(math.sqrt(96))
    assert set(table["family"]) == {"memory"} and set(table["method"]) == {"solvable"}
    bounded = table[table["low"].notna() & ~table["metric"].str.contains("w1|fitted|floor")]
    assert (bounded["low"] <= bounded["value"] + 1e-9).all() and (bounded["value"] <= bounded["high"] + 1e-9).all()


def test_a_second_run_writes_the_same_and_another_seed_does_not(tmp_path):
    written = []
    few = {**SETTINGS, "steps": [5], "pictures": 3, "levels": [25.0]}
    for seed in (0, 0, 1):
        solvable.solvable(tmp_path / "c.parquet", tmp_path / "m.parquet", **few, seed=seed)
        written.append([(tmp_path / f"{name}.parquet").read_bytes() for name in "cm"])
    assert written[0] == written[1] and written[0][0] != written[2][0]
    with pytest.raises(run.UserError, match="components 4"):
        solvable.solvable(tmp_path / "c.parquet", tmp_path / "m.parquet", **{**few, "components": 4})


def test_the_table_and_the_figure_show_what_was_measured(ran):
    folder, table = ran
    lookup = Lookup([folder / "measurements.parquet"], "memory")
    made = part_of("memory", "tables", "solvable").build(lookup, {"steps": [50, 20]})
    assert len(made.frame) == 5 + 2 + 4
    first = made.frame[("NLL (nats)", "E")].iloc[1].value
    assert first == value(table, "nll", model="oracle", steps=50, start="released", set="erased")
    assert r"\begin{table*}" in made.latex() and "272.4" in made.notes
    style.apply()
    figure = part_of("memory", "figures", "solvable").draw(None, [folder / "curves.parquet"], {})
    left, right = figure.axes
    assert sum(len(line.get_xdata()) for line in left.lines) == 5 * 2 * 8
    lines = {line.get_label(): line.get_ydata() for line in right.lines}
    shown = [value(table, "adjacent_cosine", model="vanilla", set="erased", level=level) for level in ("25", "45")]
    assert lines["vanilla, E"].tolist() == pytest.approx(shown)
    figure.canvas.draw()
    shown, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert 0 <= shown.x0 < shown.x1 <= width == style.COLUMN and 0 <= shown.y0 < shown.y1 <= height
    style.plt.close(figure)
