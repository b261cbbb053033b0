"""The paper's models and judges in the layouts they are published in, with random weights: nothing is downloaded."""

import hashlib
import json
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from diffusers import (
    DDPMScheduler,
    UNet2DModel,
)
from torch import nn
from torch.nn import functional as F

from conftest import configuration
from palimpsest.imitations import diffusion as imitation
from palimpsest.imitations import state_dict
from palimpsest.instance.judging import load_judges
from palimpsest.instance.methods import unpromptable
from palimpsest.judges import inception, lpips_alex, sscd
from palimpsest.judges.batches import in_batches
from palimpsest.models import convert_diffusion, diffusion, take_file
from palimpsest.models.pixels import to_uint8
from palimpsest.run import UserError, sha256, step
from palimpsest.unlearning.context import Context, Examples
from palimpsest.unlearning.engine import train

# SSCD and Inception are published as TorchScript, and as nothing newer.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.:DeprecationWarning")

CELEBAHQ = {**imitation.ARCHITECTURES["ddpm_celebahq"], "sample_size": 64}
SMALL = {
    **CELEBAHQ,
    "block_out_channels": [32, 32],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def made(size: int, **config) -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(**{**config, "sample_size": size}).eval().requires_grad_(False)


def write(folder, network: UNet2DModel, layout: str, **schedule):
    """A folder as the Hub has it: `root` with old names in torch's format, or `parts`; gives the weights' path."""
    scheduler = DDPMScheduler(**{**imitation.LINEAR, **schedule})
    if layout == "root":
        return imitation.write(folder, network, scheduler)
    path = folder / "unet" / diffusion.WEIGHTS
    path.parent.mkdir(parents=True)
    diffusion.save(path, network, scheduler)
    return path


def with_hash(path, **changes) -> dict:
    """Arguments of a step for a published file of this path."""
    return {"name": path.stem, "sha256": sha256(path), **changes}


def test_the_papers_model_is_read_converted_and_made_to_forget(tmp_path):
    network = made(64, **CELEBAHQ)
    assert sum(tensor.numel() for tensor in network.parameters()) / 1e6 == pytest.approx(113.7, abs=0.1)
    weights = write(tmp_path, network, "root")
    converted = tmp_path / "made/unet/diffusion_pytorch_model.safetensors"
    converted.parent.mkdir(parents=True)
    report = convert_diffusion.convert(weights, converted, **with_hash(weights))
    assert report["parameters"] == 113_673_219
    weights.unlink()
    unet, scheduler = diffusion.load(converted)
    converted.unlink()
    images, times = random(1, 3, 64, 64), torch.tensor([300])
    network = network.to(memory_format=torch.channels_last)  # what loading computes in: other layouts round otherwise
    assert torch.equal(unet(images, times).sample, network(images, times).sample)
    del network
    student = diffusion.NoisePredictor(unet.requires_grad_(True), scheduler)
    before = unet.conv_out.weight.detach().clone()
    context = Context(
        "instance",
        target=Examples(images),
        remember=Examples(random(2, 3, 64, 64, seed=1)),
        timesteps=len(scheduler.alphas_cumprod),
        alphas_cumprod=scheduler.alphas_cumprod,
        surrogate=random(1, 3, 64, 64, seed=2),
    )
    log = train(
        unpromptable.direction,
        student,
        context,
        steps=1,
        learning_rate=5e-6,
        batch=1,
        betas=(0.95, 0.999),
        weight_decay=1e-6,
        settings={},
    )
    assert log[0]["forwards"] == log[0]["backwards"] == 2 and log[0]["norm"] > 0
    assert 0 < (unet.conv_out.weight - before).abs().max() < 1e-4


@pytest.mark.parametrize("layout", ["root", "parts"])
def test_both_layouts_load_as_diffusers_loads_them(tmp_path, layout):
    network = made(16, **SMALL)
    path = write(tmp_path, network, layout)
    ours, scheduler = diffusion.load(path)
    theirs = UNet2DModel.from_pretrained(path.parent, use_safetensors=layout == "parts")
    images, times = random(2, 3, 16, 16), torch.tensor([10, 700])
    for other in (theirs.eval(), network):
        other = other.to(memory_format=torch.channels_last)
        assert torch.equal(ours(images, times).sample, other(images, times).sample)
    assert scheduler.config.num_train_timesteps == 1000 and scheduler.config.clip_sample
    assert float(scheduler.alphas_cumprod[250]) == pytest.approx(0.5214, abs=2e-3)


def test_the_old_names_are_those_of_the_attention(tmp_path):
    names = set(imitation.old_state(made(16, **SMALL)))
    assert "mid_block.attentions.0.query.weight" in names and not any(".to_" in name for name in names)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.pop("conv_in.weight"), r"missing conv_in\.weight"),
        (lambda state: state.update(extra=torch.zeros(2)), r"unexpected extra \(2,\)"),
        (lambda state: state.update({"conv_in.bias": torch.zeros(3)}), r"shape of conv_in\.bias is \(3,\)"),
        (lambda state: state.update(extra=3), "is no state dict"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, named):
    path = write(tmp_path, made(16, **SMALL), "root")
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    with pytest.raises(UserError, match=named):
        diffusion.load(path)


class Caller:
    """Unpickling it would make a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_weights_that_ask_for_code_are_refused_and_nothing_runs(tmp_path):
    path = write(tmp_path, made(16, **SMALL), "root")
    torch.save({"conv_in.weight": Caller(tmp_path / "ran")}, path)
    with pytest.raises(UserError, match="no readable file of weights"):
        diffusion.load(path)
    assert not (tmp_path / "ran").exists()


def test_a_folder_without_its_parts_and_another_prediction_are_refused(tmp_path):
    path = write(tmp_path, made(16, **SMALL), "root", prediction_type="sample")
    with pytest.raises(UserError, match="prediction type 'sample'"):
        diffusion.load(path)
    (tmp_path / "scheduler_config.json").unlink()
    with pytest.raises(UserError, match=r"scheduler_config\.json is missing"):
        diffusion.load(path)


def test_a_model_is_converted_only_with_its_hash(tmp_path):
    path = write(tmp_path, made(16, **SMALL), "root")
    output = tmp_path / "unet/diffusion_pytorch_model.safetensors"
    output.parent.mkdir()
    with pytest.raises(UserError, match=f"has the sha256 {sha256(path)}, expected 0000"):
        convert_diffusion.convert(path, output, **with_hash(path, sha256="0" * 64))
    with pytest.raises(UserError, match=rf"checkpoints\.ddpm has no sha256\. .* {sha256(path)}"):
        convert_diffusion.convert(path, output, name="ddpm")
    assert not output.exists()


class Descriptor(nn.Module):
    """SSCD's signature: normalised pictures to 512 values of unit length."""

    def __init__(self, dimensions: int = 512):
        super().__init__()
        self.layer = nn.Linear(3 * 16, dimensions)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape[2] == 288
        return F.normalize(self.layer(F.adaptive_avg_pool2d(images, [4, 4]).flatten(1)), dim=1)


class Detector(nn.Module):
    """The signature of NVIDIA's Inception: pictures of 0 to 255, and features where they are asked for."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(48, 2048)

    def forward(self, images: torch.Tensor, return_features: bool = False, no_output_bias: bool = False):
        pooled = F.adaptive_avg_pool2d(images.to(torch.float32), [4, 4]).flatten(1)
        features = self.layer((pooled - 128) / 128)
        return features if return_features else features[:, :1008]


def script(path, network: nn.Module):
    torch.jit.script(network).save(path)
    return path


@pytest.fixture
def trunk():
    torch.manual_seed(0)
    return state_dict.alexnet().requires_grad_(False)


def test_sscd_embeds_resized_normalised_pictures(tmp_path):
    network = Descriptor()
    path = script(tmp_path / "sscd.pt", network)
    judge = sscd.load(path, sha256(path))
    images = random(3, 3, 64, 96)
    found = judge.embed(images)
    assert found.shape == (3, 512) and torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-5)
    prepared = sscd.prepared(images)
    assert prepared.shape == (3, 3, 288, 432)
    grey = sscd.prepared(torch.zeros(1, 3, 64, 64))[0, :, 0, 0]
    assert torch.allclose(grey, (0.5 - torch.tensor(sscd.MEAN)) / torch.tensor(sscd.SPREAD), atol=1e-6)
    with torch.no_grad():
        assert torch.allclose(found, network(prepared), atol=1e-5)


def test_inception_sees_pictures_of_8_bits(tmp_path):
    network = Detector()
    path = script(tmp_path / "inception.pt", network)
    judge = inception.load(path, sha256(path))
    pixels = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = network(pixels, return_features=True)
    assert torch.allclose(judge.features(pixels / 127.5 - 1), wanted, atol=1e-5) and wanted.shape == (4, 2048)


def test_lpips_is_that_of_its_package(tmp_path, trunk, monkeypatch):
    path = state_dict.write(tmp_path / "alexnet-owt-7be5be79.pth", trunk)
    judge = lpips_alex.load(path, sha256(path))
    # The package needs torchvision, which is not installed: this stands in for the one network it takes from it.
    torchvision = ModuleType("torchvision")
    torchvision.models = SimpleNamespace(alexnet=lambda pretrained: SimpleNamespace(features=trunk))
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    import lpips

    theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    first, second = random(3, 3, 80, 96), random(3, 3, 80, 96, seed=1)
    with torch.no_grad():
        wanted = theirs(first, second)[:, 0, 0, 0]
    assert torch.allclose(judge.distance(first, second), wanted, rtol=1e-5) and (wanted > 0).all()
    assert torch.equal(judge.distance(first, first), torch.zeros(3))


def test_pictures_of_another_range_or_shape_are_refused(tmp_path, trunk):
    judge = lpips_alex.load(state_dict.write(tmp_path / "alexnet.pth", trunk))
    good = random(1, 3, 64, 64)
    with pytest.raises(ValueError, match=r"give them in \[-1, 1\]"):
        judge.distance(good, 127.5 * (good + 1))
    with pytest.raises(ValueError, match="give float"):
        judge.distance(good, torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    with pytest.raises(ValueError, match="35 on each side"):
        judge.distance(good[:, :, :34], good[:, :, :34])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"features.0.bias": torch.zeros(3)}, r"shape of 0\.bias is \(3,\)"),
        ({"features.1.weight": torch.zeros(3)}, r"unexpected features\.1\.weight"),
    ],
)
def test_another_alexnet_is_refused(tmp_path, trunk, changes, named):
    with pytest.raises(UserError, match=named):
        lpips_alex.load(state_dict.write(tmp_path / "alexnet.pth", trunk, **changes))


@pytest.mark.parametrize("judge", [sscd, inception])
def test_torchscript_is_opened_only_with_its_hash(tmp_path, judge, monkeypatch):
    path = script(tmp_path / "network.pt", Descriptor() if judge is sscd else Detector())
    with monkeypatch.context() as patch:
        patch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was opened"))
        with pytest.raises(UserError, match="expected 0000"):
            judge.load(path, "0" * 64)
        with pytest.raises(UserError, match="has no sha256"):
            judge.load(path)
    assert judge.load(path, sha256(path).upper())


@pytest.mark.parametrize(
    ("judge", "network", "named"),
    [(sscd, Descriptor(128), "is no SSCD"), (inception, Descriptor(), "takes no return_features")],
)
def test_another_script_is_refused(tmp_path, judge, network, named):
    path = script(tmp_path / "network.pt", network)
    with pytest.raises(UserError, match=named):
        judge.load(path, sha256(path))
    path.write_bytes(b"no script")
    with pytest.raises(UserError, match="no TorchScript"):
        judge.load(path, hashlib.sha256(b"no script").hexdigest())


def test_a_file_is_taken_with_its_hash_and_opened_as_its_record_says(tmp_path):
    path, taken = script(tmp_path / "published.pt", Descriptor()), tmp_path / "models/sscd.pt"
    given = ["--file", str(path), "--network", str(taken), "--name", "sscd"]
    step(take_file.take, [*given, "--sha256", sha256(path)])
    assert json.loads((taken.parent / "sscd.record.json").read_text(encoding="utf-8"))["result"]["sha256"] == sha256(
        path
    )
    assert sscd.load(taken).embed(random(1, 3, 64, 64)).shape == (1, 512)
    script(taken, Descriptor())
    with pytest.raises(UserError, match="expected"):
        sscd.load(taken)
    with pytest.raises(SystemExit, match=r"checkpoints\.sscd has no sha256"):
        step(take_file.take, given)


def test_the_judges_fill_their_roles(tmp_path, trunk):
    files = {
        "descriptor": script(tmp_path / "sscd.pt", Descriptor()),
        "features": script(tmp_path / "inception.pt", Detector()),
        "perceptual": state_dict.write(tmp_path / "alexnet.pth", trunk),
    }
    networks = [tmp_path / f"models/{role}.pt" for role in files]
    for path, taken in zip(files.values(), networks, strict=True):
        given = {"file": path, "network": taken, "name": path.stem, "sha256": sha256(path)}
        step(take_file.take, [text for key, value in given.items() for text in (f"--{key}", str(value))])
    modules = configuration("full")["instance"]["judges"]
    judges = load_judges({role: modules[role]["module"] for role in files}, networks)
    first, second = (to_uint8(random(4, 3, 48, 48, seed=seed)) for seed in (0, 1))
    assert in_batches(judges["descriptor"].embed, first).shape == (4, 512)
    assert in_batches(judges["features"].features, first).shape == (4, 2048)
    distances = in_batches(judges["perceptual"].distance, first, second)
    assert distances.shape == (4,) and (distances > 0).all()
