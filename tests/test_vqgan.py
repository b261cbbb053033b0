"""The VQ-GANs: choosing codes, decoding, weights on disk, training of the quantisers, the released models."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.spatial.distance import cdist
from scipy.stats import chisquare
from taming.modules.vqvae.quantize import VectorQuantizer2

from conftest import ROOT, configuration
from palimpsest.judges import emblem, networks
from palimpsest.judges.quality import factor_accuracy
from palimpsest.lcr.encode import encode, entropy_bits
from palimpsest.lcr.model_card import code_use, codebook_geometry, model_card
from palimpsest.metrics.measurements import read, select
from palimpsest.models import vqgan, weights
from palimpsest.models.pixels import to_tensor, to_uint8
from palimpsest.models.train_vqgan import GumbelTraining, NearestTraining, quality
from palimpsest.models.vqgan import VQGAN, NearestCodebook, VQGANConfig, decode, pick
from palimpsest.run import UserError
from palimpsest.worlds import scenes

CONFIG = configuration()
RELEASED = ROOT / "resources/models"
RECORDS = sorted(path.stem for path in RELEASED.glob("*.json"))
MODELS = [name for name in RECORDS if CONFIG["networks"].get(name, {}).get("trainer") == "vqgan"]
SEED = 31337  # of no training and no measured set


def small(quantiser, codes=24):
    torch.manual_seed(0)
    dim = 32 if quantiser == "gumbel" else 4
    return VQGAN(VQGANConfig(quantiser, codes, dim, 16, 32, 32, (1, 1), 1, patch=2)).eval().requires_grad_(False)


@pytest.fixture(scope="module", params=["gumbel", "nearest"])
def model(request):
    return small(request.param)


@pytest.fixture(scope="module")
def images():
    return torch.rand(7, 3, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


# Choosing codes


def test_a_draw_follows_the_softmax_of_the_logits():
    logits = torch.tensor([2.0, 0.0, -1.0, 1.0, 0.5])
    generator = torch.Generator().manual_seed(0)
    drawn = pick(logits[None, :, None, None].expand(50, -1, 20, 20), generator)
    count = np.bincount(drawn.flatten(), minlength=5)
    expected = logits.softmax(0).double().numpy()
    assert chisquare(count, expected / expected.sum() * count.sum()).pvalue > 0.001


def test_cells_are_drawn_independently_and_by_the_seed():
    logits = torch.zeros(2, 6, 30, 30)
    one, same, other = (pick(logits, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    agreement = (one[0] == one[1]).float().mean()
    assert abs(float(agreement) - 1 / 6) < 0.06


def test_without_a_generator_the_best_code_is_taken_whatever_the_batch(model, images):
    codes = model.encode(images)
    assert codes.shape == (7, 4, 6) and codes.dtype == torch.int64
    assert torch.equal(codes, model.encode_logits(images).argmax(1))
    assert torch.equal(codes, model.encode(images))
    assert torch.equal(codes, torch.cat([model.encode(part) for part in images.split(3)]))


def test_the_logits_of_a_nearest_codebook_are_negative_squared_distances(images):
    model = small("nearest")
    z = model.latents(images).permute(0, 2, 3, 1).reshape(-1, 4).double()
    distance = torch.cdist(z, model.codebook.double()).square()
    logits = model.encode_logits(images).permute(0, 2, 3, 1).reshape(-1, 24)
    assert torch.allclose(logits.double(), -distance, atol=1e-4)


@pytest.mark.parametrize("dim", [4, 256])
def test_the_nearest_code_of_a_tight_codebook_far_from_the_origin_is_exact(dim):
    """8,192 codes of N(1, 1e-3): in float32 about the origin nearly all distances are rounding (dim 4: 225 of 250)."""
    rng = np.random.default_rng(0)
    book = rng.normal(1, 1e-3, (8192, dim)).astype(np.float32)
    z = (book[rng.integers(0, 8192, 250)] + rng.normal(0, 5e-4, (250, dim))).astype(np.float32)
    codebook = NearestCodebook(VQGANConfig("nearest", 8192, dim, 16, dim, 32, (1, 1), 1)).requires_grad_(False)
    codebook.embedding.weight.copy_(torch.from_numpy(book))
    logits = codebook.logits(torch.from_numpy(z)[:, :, None, None])[:, :, 0, 0].numpy()
    exact = cdist(z.astype(np.float64), book.astype(np.float64), "sqeuclidean")
    assert np.array_equal(logits.argmax(1), exact.argmin(1))
    assert np.allclose(-logits, exact, rtol=1e-3, atol=1e-9)


def test_the_codes_of_a_codebook_about_the_origin_are_tamings():
    """Of the initial values U(-1/K, 1/K) many are equally near in float32: the order of the sums decides."""
    torch.manual_seed(0)
    taming = VectorQuantizer2(16384, 256, 0.25).requires_grad_(False)
    ours = NearestCodebook(VQGANConfig("nearest", 16384, 256, 16, 256, 32, (1, 1), 1)).requires_grad_(False)
    ours.load_state_dict(taming.state_dict())
    z = torch.randn(2, 256, 16, 16)
    assert torch.equal(ours.logits(z).argmax(1).flatten(), taming(z)[2][2].flatten())


def test_a_nearest_model_is_not_sampled(images):
    with pytest.raises(ValueError, match="only a gumbel quantiser"):
        small("nearest").encode(images, torch.Generator())


def test_an_unknown_quantiser_is_refused():
    with pytest.raises(ValueError, match=r"'lookup'.*gumbel"):
        small("lookup")


def test_entropy_in_bits_is_the_closed_form():
    uniform = torch.zeros(1, 8, 1, 1)
    sure = torch.tensor([50.0, 0, 0, 0])[None, :, None, None]
    share = torch.tensor([0.5, 0.25, 0.125, 0.125])
    assert entropy_bits(uniform).item() == pytest.approx(3)
    assert entropy_bits(sure).item() == pytest.approx(0, abs=1e-6)
    assert entropy_bits(share.log()[None, :, None, None] + 7).item() == pytest.approx(1.75, rel=1e-5)


def test_decoding_of_arrays_is_decoding_of_codes(model, images):
    codes = model.encode(images)
    whole = to_uint8(model.decode_codes(codes))
    assert whole.shape == (7, 16, 24, 3) and whole.dtype == np.uint8
    parts = decode(model, codes.numpy().astype(np.uint16), batch=3)
    assert np.abs(whole.astype(int) - parts).max() <= 1  # a batch may round otherwise
    latents = model.codebook[codes].permute(0, 3, 1, 2)
    assert torch.equal(model.decode_latents(latents), model.decode_codes(codes))


def test_pixels_survive_the_way_to_tensors_and_back():
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    tensor = to_tensor(pixels)
    assert tensor.shape == (1, 3, 16, 16) and tensor.min() == -1 and tensor.max() == 1
    assert np.array_equal(to_uint8(tensor), pixels)


# The step that encodes


@pytest.fixture
def encoded(tmp_path, model, images):
    """A function that encodes the pictures of a model on disk."""
    weights.save(tmp_path / "model.safetensors", model, model.to_metadata())
    np.save(tmp_path / "images.npy", to_uint8(images))

    def run(**settings):
        paths = [tmp_path / name for name in ("model.safetensors", "images.npy", "codes.npy", "entropy.npy")]
        result = encode(*paths, device="cpu", **settings)
        return np.load(paths[2]), np.load(paths[3]), result

    return run


def test_encoding_writes_codes_and_entropy_whatever_the_batch(encoded, model, images):
    codes, entropy, result = encoded(batch=3)
    exact = to_tensor(to_uint8(images))
    assert codes.dtype == np.uint16 and np.array_equal(codes, model.encode(exact).numpy())
    assert result["images"] == 7 and result["cells"] == 24
    if model.config.quantiser == "gumbel":
        assert np.allclose(entropy, entropy_bits(model.encode_logits(exact)), atol=0.01)
        drawn, again = encoded(sampling="gumbel", seed=1)[0], encoded(sampling="gumbel", seed=1)[0]
        assert np.array_equal(drawn, again) and not np.array_equal(drawn, codes)
    else:
        assert not entropy.any()
        assert np.array_equal(encoded(sampling="gumbel")[0], codes)


# Weights


@pytest.fixture
def saved(tmp_path, model):
    path = tmp_path / "model.safetensors"
    weights.save(path, model, model.to_metadata())
    return path


def test_a_model_is_the_same_after_saving_and_loading(saved, model, images):
    loaded = vqgan.load(saved)
    assert loaded.config == model.config and not loaded.training
    assert torch.equal(loaded.encode_logits(images), model.encode_logits(images))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_every_key_that_does_not_fit_is_listed(saved):
    state, metadata = load_file(saved), {"config": json.dumps(weights.read_config(saved))}
    del state["encoder.conv_in.bias"]
    state["decoder.extra"] = torch.zeros(2)
    state["quant_conv.bias"] = torch.zeros(99)
    save_file(state, saved, metadata)
    with pytest.raises(UserError) as caught:
        vqgan.load(saved)
    message = str(caught.value)
    assert "missing encoder.conv_in.bias" in message and "unexpected decoder.extra (2,)" in message
    assert "shape of quant_conv.bias is (99,)" in message and str(saved) in message


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x02}q\x00."])
def test_a_file_that_is_no_safetensors_is_refused_by_name(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    for load in (vqgan.load, networks.load):
        with pytest.raises(UserError, match=r"model\.safetensors is no readable safetensors file"):
            load(path)


def test_a_cut_file_and_one_without_configuration_are_refused_by_name(saved):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"model\.safetensors is no readable"):
        vqgan.load(saved)
    save_file({"a": torch.zeros(1)}, saved)
    with pytest.raises(UserError, match="no network configuration"):
        vqgan.load(saved)


# Training the quantisers


def test_the_moving_average_codebook_finds_cluster_means_and_revives_dead_codes():
    model = small("nearest", codes=6)
    rng = torch.Generator().manual_seed(0)
    centres = 3 * torch.eye(4)
    points = centres.repeat_interleave(50, 0) + 0.1 * torch.randn(200, 4, generator=rng)
    start = centres + 0.5
    model.quantize.embedding.weight.data.copy_(torch.cat([start, torch.full((2, 4), 100.0)]))  # two are out of reach
    training = NearestTraining(model, seed=0)
    for _ in range(700):
        training._update(points, (-model.quantize.logits(points[:, :, None, None])).argmin(1).flatten())
    distance = torch.cdist(points, model.codebook).square()
    assert model.codebook.abs().max() < 4 and distance.min(1).values.mean() < 0.05
    # A cluster that one code holds has its code at the mean of its points.
    holders = distance.argmin(1).view(4, 50)
    alone = [cluster for cluster in range(4) if len(holders[cluster].unique()) == 1]
    assert len(alone) >= 2
    for cluster in alone:
        mean = points.view(4, 50, 4)[cluster].mean(0)
        assert torch.allclose(model.codebook[holders[cluster, 0]], mean, atol=0.02)


def test_the_nearest_quantiser_passes_gradients_straight_through(images):
    model = small("nearest")
    training = NearestTraining(model, seed=0)
    model.requires_grad_(True)
    quantised, penalty = training(images, 0.0)
    codes = model.encode(images)
    assert torch.allclose(quantised, model.codebook[codes].permute(0, 3, 1, 2), atol=1e-5)
    assert float(penalty) == pytest.approx(0.25 * float((model.latents(images) - quantised).square().mean()), rel=1e-4)
    quantised.sum().backward()
    assert model.quant_conv.bias.grad.abs().sum() > 0


def test_the_gumbel_quantiser_draws_single_codes_and_asks_for_diverse_ones(images):
    model = small("gumbel")
    params = {"temperatures": [1.0, 0.3], "diversity_weight": 1.0, "logit_gain": 6}
    before = model.quantize.proj.weight.clone()
    training = GumbelTraining(model, params)
    assert torch.allclose(model.quantize.proj.weight, 6 * before)
    torch.manual_seed(0)
    quantised, penalty = training(images, 1.0)
    cells = quantised.permute(0, 2, 3, 1).reshape(-1, 32)
    assert torch.cdist(cells, model.codebook).min(1).values.max() < 1e-2  # each cell is one code
    model.quantize.proj.weight.zero_()
    model.quantize.proj.bias.zero_()
    assert float(training(images, 1.0)[1]) == pytest.approx(0, abs=1e-5)
    model.quantize.proj.bias[3] = 50
    assert float(training(images, 1.0)[1]) == pytest.approx(np.log(24), rel=1e-4)
    assert float(penalty) > 0


# The model card


def test_the_use_of_codes_is_counted():
    codes = np.array([[[0, 0], [1, 1]], [[2, 2], [3, 3]]])
    found = {row["metric"]: row["value"] for row in code_use(codes, 8)}
    assert found == pytest.approx({"codebook_size": 8, "live_codes": 4, "live_share": 0.5, "perplexity": 4})


def test_a_codebook_is_compared_with_one_without_structure():
    rng = np.random.default_rng(0)
    table = np.repeat(rng.normal(size=(20, 6)), 2, 0) + 1e-3 * rng.normal(size=(40, 6))
    found = {row["metric"]: row["value"] for row in codebook_geometry(table.astype(np.float32), 0)}
    distance = np.linalg.norm(table[:, None] - table[None], axis=2) + np.diag([np.inf] * 40)
    assert found["codebook_nn_distance"] == pytest.approx(distance.min(1).mean(), rel=0.05)
    assert found["codebook_nn_distance_null"] > 50 * found["codebook_nn_distance"]


# The released models


@pytest.fixture(scope="module")
def fresh():
    """300 held-out scenes that no network has seen, half of them figures with the emblem."""
    worlds = [scenes.make(n, SEED, "test", emblem=emblem) for n, emblem in ((150, "none"), (150, "all"))]
    return np.concatenate([w.images for w in worlds]), pd.concat([w.manifest for w in worlds], ignore_index=True)


@pytest.fixture(scope="module", params=MODELS)
def reconstructed(request, fresh):
    """A released model, and what it makes of the fresh scenes."""
    found = vqgan.load(RELEASED / f"{request.param}.safetensors")
    with torch.inference_mode():
        codes = torch.cat([found.encode(part) for part in to_tensor(fresh[0]).split(50)])
    return found, codes.numpy(), decode(found, codes.numpy())


@pytest.fixture(scope="module")
def reader(fresh):
    """The classifier that judges, and its accuracy on the originals."""
    found = networks.load(RELEASED / "classifier_judge.safetensors")
    return found, factor_accuracy(found, to_tensor(fresh[0]), fresh[1])


def test_a_released_model_reconstructs_fresh_scenes_with_most_of_its_codes(reconstructed, fresh):
    found, codes, made = reconstructed
    error = np.square((made.astype(float) - fresh[0]) / 255).mean((1, 2, 3))
    assert (-10 * np.log10(error)).mean() >= 25
    assert len(np.unique(codes)) >= 0.9 * found.config.codes


def test_the_measured_quality_is_that_of_the_pictures(reconstructed, fresh):
    found, codes, made = reconstructed
    measured = quality(found, to_tensor(fresh[0][:60]))
    error = np.square((made[:60].astype(float) - fresh[0][:60]) / 255).mean((1, 2, 3))
    assert measured["psnr"] == pytest.approx((-10 * np.log10(error)).mean(), abs=0.05)
    assert measured["live_codes"] == pytest.approx(len(np.unique(codes[:60])) / found.config.codes)
    assert 1 < measured["perplexity"] <= found.config.codes


def test_the_judges_read_reconstructions_as_they_read_originals(reconstructed, reader, fresh):
    after = factor_accuracy(reader[0], to_tensor(reconstructed[2]), fresh[1])
    for name in ("object", "colour", "style", "background"):
        assert after[name] >= reader[1][name] - 0.03, (name, after, reader[1])


def test_the_emblem_survives_reconstruction(reconstructed, fresh):
    judge, present = networks.load(RELEASED / "detector_judge.safetensors"), fresh[1]["emblem"].to_numpy()
    found = (emblem.best_scores(judge, to_tensor(reconstructed[2])) >= 0.5).numpy()
    assert found[present].mean() >= 0.90
    assert found[~present].mean() <= 0.05


def test_the_card_of_a_model_writes_what_was_measured(tmp_path, fresh):
    np.save(tmp_path / "images.npy", fresh[0][140:160])
    fresh[1][140:160].to_parquet(tmp_path / "manifest.parquet")
    judges = [RELEASED / f"{name}_judge.safetensors" for name in ("detector", "classifier")]
    paths = [RELEASED / f"{MODELS[-1]}.safetensors", tmp_path / "images.npy", tmp_path / "manifest.parquet", *judges]
    model_card(*paths, tmp_path / "card.parquet", model=MODELS[-1], set="fresh")
    table = read([tmp_path / "card.parquet"])
    assert set(table["model"]) == {MODELS[-1]} and set(table["family"]) == {"lcr"}
    assert select(table, metric="psnr")["value"].item() > 20
    on = select(table, metric="emblem_recall").set_index("on")
    assert set(on.index) == {"original", "reconstruction"} and (on["n"] == 10).all()
    assert ((table["low"] <= table["value"]) | table["low"].isna()).all()


@pytest.mark.parametrize("name", MODELS)
def test_a_released_file_holds_the_configured_architecture(name):
    config = VQGANConfig(**CONFIG["networks"][name]["params"]["architecture"])
    assert vqgan.load(RELEASED / f"{name}.safetensors").config == config
