"""Published VQ-GAN layouts: converted strictly, exactly equal to taming's own modules, and nothing of a file runs."""

import argparse
import collections
import os
import pathlib
import pickle
import re
import sys
import typing
from types import ModuleType

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


@pytest.fixture
def foreign(monkeypatch):
    """Makes classes of a library that is not installed, so that they can be pickled, and takes them away again."""
    made = {}

    def make(path):
        module, _, name = path.rpartition(".")
        parts = module.split(".")
        for depth in range(1, len(parts) + 1):
            parent = ".".join(parts[:depth])
            made.setdefault(parent, ModuleType(parent))
            monkeypatch.setitem(sys.modules, parent, made[parent])
        kind = type(name, (), {"__module__": module})
        setattr(made[module], name, kind)
        return kind

    def forget():
        for module in made:
            monkeypatch.delitem(sys.modules, module)

    return make, forget


def with_state(kind, **state):
    """An object as unpickling makes it."""
    made = kind.__new__(kind)
    made.__dict__.update(state)
    return made


def omega_config(make):
    """{"lr": 0.1, "sizes": [8]} with the classes and attributes that OmegaConf 2.3 pickles."""
    kinds = {
        name.rpartition(".")[2]: make(f"omegaconf.{name}")
        for name in ("dictconfig.DictConfig", "listconfig.ListConfig", "nodes.AnyNode", "base.Metadata")
    }
    container = make("omegaconf.base.ContainerMetadata")
    types = {"ref_type": typing.Any, "element_type": typing.Any, "optional": True, "flags": {}}
    root = kinds["DictConfig"]()
    common = {"_parent": root, "_flags_cache": None}
    node = with_state(
        kinds["AnyNode"], _metadata=with_state(kinds["Metadata"], object_type=int, key="lr"), _val=0.1, **common
    )
    sizes = with_state(
        kinds["ListConfig"], _metadata=with_state(container, object_type=list, key_type=int, **types), _content=[node]
    )
    root.__dict__.update(
        _metadata=with_state(container, object_type=dict, key_type=typing.Any, **types),
        _content={"lr": node, "sizes": sizes},
        _parent=None,
    )
    return root


OWN = {
    "numpy scalar": lambda make: np.float64(0.25),
    "numpy array": lambda make: np.arange(6.0).reshape(2, 3),
    "numpy array of objects": lambda make: np.array([{"a": 1}, None], dtype=object),
    "numpy dtype": lambda make: np.dtype([("a", "<f4"), ("b", "<i8")]),
    "Namespace": lambda make: argparse.Namespace(lr=1e-4, folder=pathlib.Path("/data/own")),
    "path": lambda make: {pathlib.Path("/data/own/last.ckpt"): 1},
    "OmegaConf": omega_config,
    "defaultdict": lambda make: collections.defaultdict(list, losses=[0.5, 0.25]),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", OWN)
def test_what_lightning_puts_beside_the_weights_is_read(small, tmp_path, foreign, kind, zipped):
    config, _, model = small
    make, forget = foreign
    content = {"hyper_parameters": {"config": OWN[kind](make)}, "epoch": 3, "state_dict": model.state()}
    torch.save(content, tmp_path / "own.ckpt", _use_new_zipfile_serialization=zipped)
    forget()
    report = converted(config, tmp_path / "own.ckpt", tmp_path / "network.safetensors", name="own")
    assert report["unused_entries"] == ["epoch", "hyper_parameters"]
    assert report["prefix_taken_off"] == ""
    ours = vqgan.load(tmp_path / "network.safetensors")
    assert all(torch.equal(value, model.state()[key]) for key, value in ours.state_dict().items())


def test_names_of_numpy_1_and_of_other_systems_are_read(tmp_path):
    """Names that this Python would not write, in protocol 2: an object made of a word, and a state for it."""
    for name in (b"numpy.core.multiarray\nscalar", b"pathlib._local\nPosixPath", b"pathlib\nWindowsPath"):
        made = b"c" + name + b"\nX\x01\x00\x00\x00a\x85R}b"
        words = [b"X" + len(word).to_bytes(4, "little") + word for word in (b"own", b"state_dict")]
        (tmp_path / "own.ckpt").write_bytes(_legacy(b"\x80\x02}(" + words[0] + made + words[1] + b"}u."))
        assert checkpoints.read_checkpoint(tmp_path / "own.ckpt").keys() == {"own", "state_dict"}


def _legacy(content):
    """A pickle as torch's format before zip holds it: magic number, version, system, content, keys of the storages."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    heads = [pickle.dumps(part, protocol=2) for part in (torch.serialization.MAGIC_NUMBER, 1001, system)]
    return b"".join([*heads, content, pickle.dumps([], protocol=2)])


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_an_unknown_class_is_named_with_a_remedy(small, tmp_path, foreign, zipped):
    _, _, model = small
    make, forget = foreign
    content = {"config": make("studio.settings.Recipe")(), "state_dict": model.state()}
    torch.save(content, tmp_path / "own.ckpt", _use_new_zipfile_serialization=zipped)
    forget()
    remedy = re.escape('`torch.save({"state_dict": checkpoint["state_dict"]}, ...)`')
    with pytest.raises(UserError, match=rf"own\.ckpt asks for studio\.settings\.Recipe .*{remedy}") as caught:
        checkpoints.read_checkpoint(tmp_path / "own.ckpt")
    assert "\n" not in str(caught.value)


class Bait:
    """A pickle that makes a folder by another call when it is opened with the ordinary loader."""

    def __init__(self, call, path):
        self.call, self.argument = (
            call,
            f"mkdir {path}" if call is os.system else f"__import__('os').mkdir({str(path)!r})",
        )

    def __reduce__(self):
        return self.call, (self.argument,)


@pytest.mark.parametrize("call", [os.system, eval])
def test_code_beside_harmless_classes_does_not_run(small, tmp_path, call):
    _, _, model = small
    mark, path = tmp_path / "it-ran", tmp_path / "evil.ckpt"
    own = argparse.Namespace(score=np.float64(1), inner=Bait(call, mark))
    torch.save({"state_dict": model.state(), "hyper_parameters": own}, path)
    torch.load(path, weights_only=False)
    assert mark.exists(), "the bait works with the ordinary loader"
    mark.rmdir()
    with pytest.raises(UserError, match=r"evil\.ckpt asks for (posix\.system|nt\.system|eval) .* nothing of it ran"):
        checkpoints.read_checkpoint(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("prefix", "beside", "which"),
    [
        ("model.", {}, "all keys"),
        ("module.", {}, "all keys"),
        ("module.model.", {}, "all keys"),
        ("module.first_stage_model.", {}, "all keys"),
        ("model.", {"criterion.weight": torch.ones(2)}, "the keys of its network"),
    ],
)
def test_a_prefix_is_named_and_the_remedy_works(small, tmp_path, prefix, beside, which):
    config, _, model = small
    checkpoint = {"state_dict": {**beside, **{prefix + key: value for key, value in model.state().items()}}}
    torch.save(checkpoint, tmp_path / "own.ckpt")
    with pytest.raises(
        UserError, match=rf"own\.ckpt: {which} begin with {re.escape(prefix)}:.*Take that off"
    ) as caught:
        converted(config, tmp_path / "own.ckpt", tmp_path / "network.safetensors", name="own")
    assert "\n" not in str(caught.value)
    remedy = re.search(r"`torch\.save\((.*), \.\.\.\)`", str(caught.value))[1]
    torch.save(eval(remedy, {"checkpoint": checkpoint}), tmp_path / "bare.ckpt")
    converted(config, tmp_path / "bare.ckpt", tmp_path / "network.safetensors", name="own")


def test_the_first_stage_of_a_latent_diffusion_checkpoint_is_taken(small, tmp_path):
    config, _, model = small
    state = {
        "model.diffusion_model.input_blocks.0.0.weight": torch.ones(4, 4),
        "model.diffusion_model.out.0.bias": torch.full((4,), torch.nan),  # nobody reads it
        **{f"first_stage_model.{key}": value for key, value in model.state().items()},
        "first_stage_model.loss.discriminator.main.0.bias": torch.ones(1),
        "cond_stage_model.encoder.weight": torch.ones(2),
    }
    layouts.write_checkpoint(tmp_path / "latent.ckpt", state)
    report = converted(config, tmp_path / "latent.ckpt", tmp_path / "network.safetensors", name="latent")
    assert report["prefix_taken_off"] == "first_stage_model."
    assert report["unused_tensors"] == {"model": 2, "first_stage_model": 1, "cond_stage_model": 1, "loss": 2}
    ours = vqgan.load(tmp_path / "network.safetensors")
    assert all(torch.equal(value, model.state()[key]) for key, value in ours.state_dict().items())


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
