"""Published VQ-GAN layouts: converted strictly, exactly equal to taming's own modules, and nothing of a file runs."""

import argparse
import collections
import os
import pathlib
import pickle
import re
import sys
import types

import numpy as np
import pytest
import torch
import yaml

from palimpsest import run
from palimpsest.imitations import taming as layouts
from palimpsest.models import checkpoints, vqgan
from palimpsest.models.published import read_state
from palimpsest.models.vqgan import VQGAN
from palimpsest.run import UserError, step

SMALL = layouts.ddconfig((1, 2), 8, z_channels=32, resolution=16, ch=32, num_res_blocks=1)
STATES = {"gumbel": "taming.models.vqgan.GumbelVQ", "nearest": "taming.models.vqgan.VQModel"}


@pytest.fixture(scope="session", params=["vqgan_gumbel_f8", "vqgan_imagenet_f16_1024"])
def published(request, tmp_path_factory):
    """A model of a published shape, converted: (taming's modules, ours, what the step reported)."""
    folder = tmp_path_factory.mktemp(request.param)
    shape = layouts.ARCHITECTURES[request.param]
    config, checkpoint, model = layouts.write(folder, *shape)
    network = folder / "network.safetensors"
    report = checkpoints.convert(config, checkpoint, network, name=request.param, sha256=run.sha256(checkpoint).upper())
    ours = vqgan.load(network)
    checkpoint.unlink()
    network.unlink()
    return model, ours, report


@pytest.fixture
def small(tmp_path):
    """A small model in the nearest-neighbour layout: (yaml, checkpoint, taming's modules)."""
    return layouts.write(tmp_path, "nearest", 64, SMALL)


def converted(config, checkpoint, network, name):
    """Convert a checkpoint that is the one it has to be."""
    return checkpoints.convert(config, checkpoint, network, name=name, sha256=run.sha256(checkpoint))


def pictures(count=2, side=64):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(3)) * 2 - 1


@torch.inference_mode()
def test_codes_and_images_are_those_of_taming(published):
    model, ours, _ = published
    images = pictures()
    latents = model.latents(images)
    assert torch.equal(ours.latents(images), latents)
    codes = ours.encode(images)
    if ours.config.quantiser == "nearest":
        quantised, wanted = model.encode(images)
    else:
        wanted = model.quantize.proj(latents).argmax(1)
        quantised = model.quantize.embed(wanted).permute(0, 3, 1, 2)
    assert codes.shape == (2, 64 // ours.config.downsampling, 64 // ours.config.downsampling)
    assert len(codes.unique()) > 1
    assert torch.equal(codes, wanted)
    assert (ours.decode_codes(codes) - model.decode(quantised)).abs().max() <= 1e-4


@torch.inference_mode()
def test_sampled_codes_are_those_of_taming(published):
    model, ours, _ = published
    if ours.config.quantiser != "gumbel":
        pytest.skip("a nearest-neighbour quantiser draws nothing")
    images = pictures()
    torch.manual_seed(11)
    quantised, wanted = model.encode(images)
    codes = ours.encode(images, torch.Generator().manual_seed(11))
    assert torch.equal(codes, wanted)
    assert not torch.equal(codes, ours.encode(images))
    assert (ours.decode_codes(codes) - model.decode(quantised)).abs().max() <= 1e-4


def test_the_report_says_what_was_left_out(published):
    model, ours, report = published
    assert report["unused_tensors"] == {"loss": 2}
    assert "optimizer_states" in report["unused_entries"]
    assert report["parameters"] == sum(value.numel() for value in model.state().values())
    if ours.config.quantiser == "gumbel":
        assert report["parameters"] == 68_995_971  # as the published file holds


@pytest.mark.parametrize("name", checkpoints.PUBLISHED)
def test_published_shapes(name, tmp_path):
    quantiser, codes, network = layouts.ARCHITECTURES[name]
    layouts.write_yaml(tmp_path / "model.yaml", STATES[quantiser], codes, network)
    config = checkpoints.read_architecture(tmp_path / "model.yaml")
    checkpoints.check_name(name, config, tmp_path / "model.yaml")
    with torch.device("meta"):
        ours = {key: value.shape for key, value in VQGAN(config).state_dict().items()}
        theirs = {key: value.shape for key, value in layouts.build(quantiser, codes, network).state().items()}
    assert ours == theirs
    for other in checkpoints.PUBLISHED.keys() - {name}:
        with pytest.raises(UserError, match="Give the yaml of that model"):
            checkpoints.check_name(other, config, tmp_path / "model.yaml")


@torch.inference_mode()
def test_ties_fall_as_in_taming(small, tmp_path):
    """Latents far from a codebook of close rows: float32 cannot tell the distances apart, the rounding decides."""
    config, checkpoint, model = small
    converted(config, checkpoint, tmp_path / "network.safetensors", name="small")
    ours = vqgan.load(tmp_path / "network.safetensors")
    latents = 1e4 * torch.randn(4, 32, 8, 8, generator=torch.Generator().manual_seed(1))
    wanted = model.quantize(latents)[2][2].view(4, 8, 8)
    logits = ours.quantize.logits(latents)
    assert ((logits == logits.amax(1, keepdim=True)).sum(1) > 1).any()
    assert torch.equal(logits.argmax(1), wanted)


def test_a_legacy_file_without_zip_is_read_too(small, tmp_path):
    config, _, model = small
    layouts.write_checkpoint(tmp_path / "old.ckpt", model.state(), _use_new_zipfile_serialization=False)
    converted(config, tmp_path / "old.ckpt", tmp_path / "network.safetensors", name="old")
    ours = vqgan.load(tmp_path / "network.safetensors")
    assert all(torch.equal(value, model.state()[key]) for key, value in ours.state_dict().items())


def test_half_precision_becomes_single(small, tmp_path):
    config, _, model = small
    layouts.write_checkpoint(tmp_path / "half.ckpt", {key: value.half() for key, value in model.state().items()})
    converted(config, tmp_path / "half.ckpt", tmp_path / "network.safetensors", name="half")
    ours = vqgan.load(tmp_path / "network.safetensors")
    assert {value.dtype for value in ours.state_dict().values()} == {torch.float32}


def test_every_misfit_is_listed(small, tmp_path):
    config, _, model = small
    state = model.state()
    state["encoder.surplus.weight"] = state.pop("encoder.conv_in.weight")
    state["quantize.embedding.weight"] = torch.zeros(65, 32)
    layouts.write_checkpoint(tmp_path / "wrong.ckpt", state)
    with pytest.raises(UserError) as caught:
        converted(config, tmp_path / "wrong.ckpt", tmp_path / "network.safetensors", name="wrong")
    message = str(caught.value)
    assert "missing encoder.conv_in.weight (32, 3, 3, 3)" in message
    assert "unexpected encoder.surplus.weight" in message
    assert "shape of quantize.embedding.weight is (65, 32), expected (64, 32)" in message
    assert not (tmp_path / "network.safetensors").exists()


@pytest.mark.parametrize("value", [torch.full((32,), torch.nan), "text"])
def test_damaged_tensors_are_refused(small, tmp_path, value):
    config, _, model = small
    layouts.write_checkpoint(tmp_path / "damaged.ckpt", {**model.state(), "encoder.conv_in.bias": value})
    with pytest.raises(UserError, match=r"damaged.*\n.*encoder\.conv_in\.bias"):
        converted(config, tmp_path / "damaged.ckpt", tmp_path / "network.safetensors", name="damaged")


def test_a_wrong_hash_is_refused(small, tmp_path):
    config, checkpoint, _ = small
    with pytest.raises(UserError, match=f"{run.sha256(checkpoint)}, expected 00ff.*fetch it again"):
        checkpoints.convert(config, checkpoint, tmp_path / "network.safetensors", name="small", sha256="00ff")


class Evil:
    """A pickle that writes a file when it is opened with the ordinary loader."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False, None], ids=["zip", "legacy", "plain pickle"])
def test_code_in_a_checkpoint_is_refused_and_does_not_run(small, tmp_path, zipped):
    config, _, model = small
    mark, path = tmp_path / "it-ran", tmp_path / "evil.ckpt"
    if zipped is None:
        path.write_bytes(pickle.dumps({"state_dict": Evil(mark)}, protocol=2))
        pickle.loads(path.read_bytes())
    else:
        state = {**model.state(), "encoder.conv_in.bias": Evil(mark)}
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=zipped)
        torch.load(path, weights_only=False)
    assert mark.exists(), "the bait works with the ordinary loader"
    mark.rmdir()
    with pytest.raises(UserError, match=r"evil\.ckpt asks for (posix|nt|os)\.mkdir .* nothing of it ran"):
        converted(config, path, tmp_path / "network.safetensors", name="evil")
    assert not mark.exists()
    assert not (tmp_path / "network.safetensors").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 5000, b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04"]
)
def test_what_is_no_checkpoint_is_refused(small, tmp_path, content):
    config, _, _ = small
    (tmp_path / "other.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"other\.ckpt is no readable checkpoint .*fetch it again"):
        converted(config, tmp_path / "other.ckpt", tmp_path / "network.safetensors", name="other")


def test_a_truncated_checkpoint_is_refused(small, tmp_path):
    config, checkpoint, _ = small
    (tmp_path / "cut.ckpt").write_bytes(checkpoint.read_bytes()[:-3000])
    with pytest.raises(UserError, match=r"cut\.ckpt is no readable checkpoint"):
        converted(config, tmp_path / "cut.ckpt", tmp_path / "network.safetensors", name="cut")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("legacy", [True, False])
def test_a_file_that_is_damaged_anywhere_is_refused_in_a_line(tmp_path, legacy):
    """Or read, where what was hit is a number; never another error, in either of torch's formats."""
    path, rng, refused = tmp_path / "weights.pt", np.random.default_rng(0), 0
    torch.save(
        {"state_dict": {"a": torch.zeros(3), "b": torch.ones(2, 2)}}, path, _use_new_zipfile_serialization=not legacy
    )
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(150):
        damaged = whole.copy()
        damaged[rng.integers(0, len(whole), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        for read in (checkpoints.read_checkpoint, read_state):
            try:
                read(path)
            except UserError as error:
                refused += read is checkpoints.read_checkpoint and str(path) in str(error)
    assert refused > 20


@pytest.mark.parametrize("content", [{"model": 1}, [torch.zeros(2)]])
def test_another_kind_of_checkpoint_is_refused(small, tmp_path, content):
    config, _, _ = small
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="no Lightning checkpoint: no state_dict"):
        converted(config, tmp_path / "other.ckpt", tmp_path / "network.safetensors", name="other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.update(target="ldm.models.autoencoder.AutoencoderKL"), r"describes a ldm\..*GumbelVQ"),
        (lambda model: model["params"].pop("n_embed"), "KeyError: 'n_embed'"),
        (lambda model: model.pop("params"), "KeyError: 'params'"),
        (lambda model: model["params"]["ddconfig"].update(double_z=True), "double_z is True"),
        (lambda model: model["params"]["ddconfig"].pop("double_z"), "double_z is not given"),
        (lambda model: model["params"]["ddconfig"].pop("ch"), "ch is missing"),
        (lambda model: model["params"]["ddconfig"].update(attn_type="vanilla"), "attn_type is unknown"),
        (lambda model: model["params"]["ddconfig"].update(out_ch=1), "out_ch is 1 and in_channels 3"),
        (lambda model: model["params"]["ddconfig"].update(ch_mult="1,2"), "ch_mult is '1,2'"),
        (lambda model: model["params"].update(n_embed="many"), "n_embed is 'many'"),
        (lambda model: model["params"].update(remap="used.npy"), "remap is set"),
        (
            lambda model: (model.update(target=STATES["gumbel"]), model["params"].update(embed_dim=8)),
            "embed_dim 8 is not",
        ),
    ],
)
def test_a_wrong_yaml_is_refused(small, change, message):
    config, _, _ = small
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    change(content["model"])
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        checkpoints.read_architecture(config)


@pytest.mark.parametrize("text", ["", "just text", "a: [", "!!python/object/apply:os.mkdir [never]", "\x00\x01"])
def test_what_is_no_yaml_is_refused(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"model\.yaml"):
        checkpoints.read_architecture(tmp_path / "model.yaml")
    assert not (tmp_path / "never").exists()


def test_the_step_writes_a_record(small, tmp_path):
    config, checkpoint, _ = small
    network = tmp_path / "models" / "small.safetensors"
    arguments = ["--config", config, "--checkpoint", checkpoint, "--network", network, "--name", "small"]
    arguments += ["--sha256", run.sha256(checkpoint)]
    step(checkpoints.convert, [str(argument) for argument in arguments])
    record = run.read_record(network)["result"]
    assert record["sha256"] == run.sha256(checkpoint)
    assert record["unused_tensors"] == {"loss": 2}
    assert vqgan.load(network).config.codes == 64


def of_a_training():
    """What people's own Lightning checkpoints hold beside their weights, of real classes where there are some."""
    kinds = {"omegaconf": None, "omegaconf.dictconfig": "DictConfig", "omegaconf.base": "ContainerMetadata"}
    for name, kind in kinds.items():
        module = types.ModuleType(name)
        if kind:
            setattr(module, kind, type(kind, (), {"__module__": name}))
        sys.modules[name] = module
    settings = sys.modules["omegaconf.dictconfig"].DictConfig()
    settings._content = {"lr": np.float64(1e-4), "_metadata": sys.modules["omegaconf.base"].ContainerMetadata()}
    yield {
        "hyper_parameters": settings,
        "args": argparse.Namespace(batch=np.int64(8), out=pathlib.PosixPath("runs/first")),
        "epoch": np.float32(3.5),
        "seen": collections.defaultdict(int, {"steps": 7}),
        "state": np.random.default_rng(0).integers(9, size=3)[0],
    }
    for name in kinds:
        del sys.modules[name]


def test_a_checkpoint_of_ones_own_training_is_read_without_its_libraries(small, tmp_path):
    config, checkpoint, _ = small
    content = {"state_dict": checkpoints.read_checkpoint(checkpoint)["state_dict"]}
    for extra in of_a_training():
        torch.save({**content, **extra}, tmp_path / "own.ckpt")
    assert "omegaconf" not in sys.modules
    converted(config, tmp_path / "own.ckpt", tmp_path / "own.safetensors", "own")
    converted(config, checkpoint, tmp_path / "plain.safetensors", "own")
    assert (tmp_path / "own.safetensors").read_bytes() == (tmp_path / "plain.safetensors").read_bytes()


def test_a_first_stage_is_taken_out_of_a_latent_diffusion_model(small, tmp_path):
    config, checkpoint, _ = small
    content = {"state_dict": checkpoints.read_checkpoint(checkpoint)["state_dict"]}
    inside = {f"first_stage_model.{key}": value for key, value in content["state_dict"].items()}
    torch.save({"state_dict": {**inside, "model.diffusion_model.weight": torch.ones(2)}}, tmp_path / "ldm.ckpt")
    result = converted(config, tmp_path / "ldm.ckpt", tmp_path / "ldm.safetensors", "own")
    converted(config, checkpoint, tmp_path / "plain.safetensors", "own")
    assert result["prefix_taken_off"] == "first_stage_model." and result["parameters"] > 0
    assert (tmp_path / "ldm.safetensors").read_bytes() == (tmp_path / "plain.safetensors").read_bytes()


@pytest.mark.parametrize("prefix", ["model.", "module."])
def test_a_wrappers_prefix_is_named(small, tmp_path, prefix):
    config, checkpoint, _ = small
    state = checkpoints.read_checkpoint(checkpoint)["state_dict"]
    torch.save({"state_dict": {f"{prefix}{key}": value for key, value in state.items()}}, tmp_path / "wrapped.ckpt")
    with pytest.raises(UserError, match=rf"all begin with '{re.escape(prefix)}'.*removeprefix"):
        converted(config, tmp_path / "wrapped.ckpt", tmp_path / "x.safetensors", "own")
