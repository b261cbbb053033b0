"""Diffusion models: the folder that diffusers loads, samples that belong to their index, and what is released."""

import json
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.utils.torch_utils import randn_tensor

from conftest import ROOT
from palimpsest.instance.faulty_class import Fault, Looks, data_rates
from palimpsest.judges import face_networks, networks
from palimpsest.judges.batches import in_batches
from palimpsest.judges.faces_drawn import beside_data
from palimpsest.models import diffusion
from palimpsest.models.forward_process import drawn_noise
from palimpsest.models.pixels import to_tensor, to_uint8
from palimpsest.models.train_ddpm import BANDS, held_out_loss, losses_of
from palimpsest.run import UserError
from palimpsest.worlds import faces, flags

RELEASED = ROOT / "resources/models"
BLOCKS = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "add_attention": False,
}


def tiny(classes: int | None = None, seed: int = 0) -> tuple[UNet2DModel, DDPMScheduler]:
    """An untrained network for pictures of 16 x 16 pixels, and the usual schedule."""
    torch.manual_seed(seed)
    network = UNet2DModel(sample_size=16, num_class_embeds=classes, **BLOCKS)
    return network.eval().requires_grad_(False), DDPMScheduler()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def face_model() -> tuple[UNet2DModel, DDPMScheduler]:
    return diffusion.load(RELEASED / "tiny_ddpm/unet" / diffusion.WEIGHTS)


@pytest.fixture
def saved(tmp_path):
    """The weights file of a tiny network in the layout."""
    path = tmp_path / "model/unet" / diffusion.WEIGHTS
    diffusion.save(path, *tiny())
    return path


# The folder


@pytest.mark.parametrize("classes", [None, 4])
def test_a_model_survives_saving(tmp_path, classes):
    path = tmp_path / "model/unet" / diffusion.WEIGHTS
    network, _ = tiny(classes)
    scheduler = DDPMScheduler(num_train_timesteps=500, beta_schedule="squaredcos_cap_v2")
    diffusion.save(path, network, scheduler)
    again, its_scheduler = diffusion.load(path)
    assert again.state_dict().keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert torch.equal(its_scheduler.alphas_cumprod, scheduler.alphas_cumprod) and len(its_scheduler) == 500
    assert not again.training and not any(each.requires_grad for each in again.parameters())


def test_diffusers_loads_the_folder_and_samples(saved):
    pipeline = DDPMPipeline.from_pretrained(saved.parent.parent)
    for name, tensor in tiny()[0].state_dict().items():
        assert torch.equal(pipeline.unet.state_dict()[name], tensor), name
    pipeline.set_progress_bar_config(disable=True)
    (picture,) = pipeline(num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images
    assert picture.size == (16, 16)


@pytest.mark.parametrize("missing", ["unet/config.json", "scheduler/scheduler_config.json"])
def test_a_folder_that_is_not_in_the_layout_is_refused(saved, missing):
    (saved.parent.parent / missing).unlink()
    with pytest.raises(UserError, match=f"{missing} is missing.*layout"):
        diffusion.load(saved)


def test_weights_that_do_not_fit_are_refused_by_name(saved):
    state = safetensors.torch.load_file(saved)
    del state["conv_in.bias"]
    state |= {"conv_out.bias": torch.zeros(7), "further": torch.zeros(1)}
    safetensors.torch.save_file(state, saved)
    with pytest.raises(UserError) as caught:
        diffusion.load(saved)
    assert "missing conv_in.bias (8,)" in str(caught.value) and "unexpected further (1,)" in str(caught.value)
    assert "shape of conv_out.bias is (7,), expected (3,)" in str(caught.value)


def test_a_network_that_predicts_no_noise_is_refused(saved):
    place = saved.parent.parent / "scheduler/scheduler_config.json"
    place.write_text(
        json.dumps(json.loads(place.read_text(encoding="utf-8")) | {"prediction_type": "sample"}), encoding="utf-8"
    )
    with pytest.raises(UserError, match=r"scheduler has the prediction type 'sample'.*epsilon"):
        diffusion.load(saved)


# Sampling


def apart(one: np.ndarray, other: np.ndarray) -> int:
    """The largest difference of two arrays of pictures, of 255."""
    return int(np.abs(one.astype(int) - other).max())


def test_a_sample_belongs_to_its_seed_and_index():
    network, scheduler = tiny()
    settings = {"steps": 5, "seed": 3}
    several = diffusion.sample(network, scheduler, np.array([7, 2, 9, 4, 11]), batch=2, **settings)
    assert several.shape == (5, 16, 16, 3) and several.dtype == np.uint8
    alone = diffusion.sample(network, scheduler, np.array([9]), **settings)
    turned = diffusion.sample(network, scheduler, np.array([11, 9, 7]), batch=64, **settings)
    assert apart(several[2], alone[0]) <= 1 and apart(several[[4, 2, 0]], turned) <= 1
    assert apart(several[0], several[1]) > 12
    other = diffusion.sample(network, scheduler, np.array([9]), steps=5, seed=4)
    assert apart(other, alone) > 12


def test_a_sample_is_of_the_class_that_is_asked_for():
    network, scheduler = tiny(classes=4)
    # An untrained network hardly heeds its classes: make them count.
    network.class_embedding.weight.mul_(30)
    labels, indices = torch.tensor([0, 1, 1, 2, 0]), np.array([5, 5, 6, 5, 5])
    found = diffusion.sample(network, scheduler, indices, steps=5, seed=0, batch=2, labels=labels)
    for row in (1, 2, 3):
        alone = diffusion.sample(network, scheduler, indices[[row]], steps=5, seed=0, labels=labels[[row]])
        assert apart(found[row], alone[0]) <= 1
    assert apart(found[0], found[4]) <= 1
    assert all(apart(found[one], found[other]) > 2 for one, other in ((0, 1), (1, 3), (0, 3)))


def test_the_predictor_is_the_network_of_its_class():
    network, scheduler = tiny(classes=4)
    noisy, times = random(3, 3, 16, 16), torch.tensor([0, 500, 999])
    predictor, labels = diffusion.NoisePredictor(network, scheduler, 2), torch.tensor([1, 3, 0])
    assert torch.equal(predictor(noisy, times), network(noisy, times, class_labels=torch.full((3,), 2)).sample)
    assert torch.equal(predictor(noisy, times, labels), network(noisy, times, class_labels=labels).sample)
    assert predictor.unconditional == 3
    plain, scheduler = tiny()
    assert torch.equal(diffusion.NoisePredictor(plain, scheduler)(noisy, times), plain(noisy, times).sample)


def test_the_noise_of_a_predicted_velocity_is_that_of_diffusers():
    images, noise, times = random(3, 3, 16, 16), random(3, 3, 16, 16, seed=1), torch.tensor([0, 500, 999])
    network, _ = tiny()
    scheduler = DDPMScheduler(prediction_type="v_prediction", clip_sample=False)
    predictor, noisy = diffusion.NoisePredictor(network, scheduler), scheduler.add_noise(images, noise, times)
    network.forward = lambda *_, **__: (scheduler.get_velocity(images, noise, times),)
    assert torch.allclose(predictor(noisy, times), noise, atol=1e-5)


def test_a_network_is_trained_on_the_error_of_the_noise_that_it_says():
    images, noise, times = random(3, 3, 16, 16), random(3, 3, 16, 16, seed=1), torch.tensor([0, 500, 999])
    network, _ = tiny()
    for kind in ("epsilon", "v_prediction"):
        scheduler = DDPMScheduler(prediction_type=kind, clip_sample=False)
        noisy = scheduler.add_noise(images, noise, times)
        found = losses_of(diffusion.NoisePredictor(network, scheduler), noisy, times, noise)
        wanted = noise if kind == "epsilon" else scheduler.get_velocity(images, noise, times)
        expected = (network(noisy, times).sample - wanted).square().mean((1, 2, 3))
        # Of a velocity the noise is sqrt(abar) v + sqrt(1 - abar) x.
        expected *= 1 if kind == "epsilon" else scheduler.alphas_cumprod[times]
        assert torch.allclose(found, expected, rtol=1e-3), kind


def test_a_model_that_predicts_velocity_draws_what_its_noise_does():
    network, _ = tiny()
    of_velocity = DDPMScheduler(prediction_type="v_prediction", clip_sample=False)
    sampler = diffusion.ddim(DDPMScheduler(clip_sample=False), 5)
    predictor, noisy = diffusion.NoisePredictor(network, of_velocity), drawn_noise(0, np.arange(2), (3, 16, 16))
    for timestep in sampler.timesteps:
        noisy = sampler.step(predictor(noisy, timestep), timestep, noisy).prev_sample
    found = diffusion.sample(network, of_velocity, np.arange(2), steps=5, seed=0)
    assert apart(found, to_uint8(noisy)) <= 1


@pytest.mark.parametrize("steps", [3, 20])
def test_the_sampler_is_that_of_diffusers(steps):
    network, scheduler = tiny()
    pipeline = DDIMPipeline(network, DDIMScheduler.from_config(scheduler.config, timestep_spacing="trailing"))
    pipeline.set_progress_bar_config(disable=True)
    generators = (torch.Generator().manual_seed(5) for _ in range(2))
    noise = randn_tensor((2, 3, 16, 16), generator=next(generators))
    wanted = pipeline(2, next(generators), num_inference_steps=steps, output_type="pt").images
    with torch.no_grad():
        found = diffusion.denoise(network, diffusion.ddim(scheduler, steps), noise, 0)
    assert torch.allclose(found / 2 + 0.5, wanted, atol=1e-5)


# Injection


def test_injection_gives_every_image_the_same_draws():
    network, scheduler = tiny()
    first, second = to_uint8(random(2, 3, 16, 16))
    settings = {"timestep": 300, "draws": 3, "steps": 10, "seed": 1}
    found = diffusion.injected(network, scheduler, np.stack([first, second, first]), **settings)
    assert found.shape == (3, 3, 16, 16, 3) and found.dtype == np.uint8
    assert apart(found[0], found[2]) <= 1
    alone = diffusion.injected(network, scheduler, second[None], batch=2, **settings | {"draws": 2})
    assert apart(alone[0], found[1, :2]) <= 1
    assert min(apart(found[0, one], found[0, other]) for one, other in ((0, 1), (1, 2), (0, 2))) > 12
    other = diffusion.injected(network, scheduler, second[None], **settings | {"seed": 2})
    assert apart(other[0], found[1]) > 12


def test_injection_is_the_forward_process_followed_by_the_samplers_last_steps():
    network, scheduler = tiny()
    pictures, noise = to_uint8(random(2, 3, 16, 16, seed=4)), diffusion.drawn_noise(7, np.arange(1), (3, 16, 16))
    images = to_tensor(pictures)
    # With ten steps of a thousand the sampler is at 999, 899, ..., 99: 398 is taken down to 299, and 0 to the last.
    for asked, reached in ((398, 299), (299, 299), (0, 99)):
        sampler = diffusion.ddim(scheduler, 10)
        noisy = scheduler.add_noise(images, noise.expand_as(images), torch.tensor([reached] * 2))
        for timestep in range(reached, 0, -100):
            noisy = sampler.step(network(noisy, timestep).sample, timestep, noisy).prev_sample
        found = diffusion.injected(network, scheduler, pictures, timestep=asked, draws=1, steps=10, seed=7)
        assert apart(found[:, 0], to_uint8(noisy)) <= 1, asked


def test_a_trained_model_gives_back_an_image_that_is_hardly_noised(face_model):
    pictures = faces.make(4, 90210, "test").images
    found = [
        diffusion.injected(*face_model, pictures, timestep=timestep, draws=2, steps=500, seed=0)
        for timestep in (0, 20, 500)
    ]
    errors = [np.sqrt((((each - pictures[:, None].astype(float)) / 127.5) ** 2).mean()) for each in found]
    assert errors[0] < 0.02 and errors[0] < errors[1] < 0.1 < errors[2]


# What is released


@pytest.mark.parametrize("name", ["tiny_ddpm", "tiny_ddpm_oracle", "tiny_flags"])
def test_the_released_folders_are_in_the_layout(name):
    network, scheduler = diffusion.load(RELEASED / name / "unet" / diffusion.WEIGHTS)
    pipeline = DDPMPipeline.from_pretrained(RELEASED / name)
    assert pipeline.unet.config.sample_size == network.config.sample_size
    assert torch.equal(pipeline.scheduler.alphas_cumprod, scheduler.alphas_cumprod)
    assert sum(part.numel() for part in network.parameters()) < 1e6


def test_the_face_models_samples_are_distributed_like_faces(face_model):
    pictures, judge, count = faces.make(1000, 23, "test").images, RELEASED / "face_attributes.safetensors", 64
    samples = diffusion.sample(*face_model, np.arange(count), steps=25, seed=0)
    drawn = {"model": samples, "six": np.resize(samples[:6], samples.shape), "upside_down": samples[:, ::-1]}
    ways = {name: lambda indices, each=each: each[indices] for name, each in drawn.items()}
    floor, found, *broken = beside_data(judge, pictures[:500], pictures[500:], ways, count).values()
    limit = 3 * floor["frechet"]
    assert found["plausible"] > 0.9 and found["frechet"] < limit
    # The gate can fail: at a model that knows only six faces, and at one that paints them upside down.
    assert len(broken) == 2 and all(each["frechet"] > limit for each in broken)


def test_the_flag_model_draws_its_faulty_class_wrong_about_as_often_as_data_are():
    judge = networks.load(RELEASED / "flag_judge.safetensors")
    given = [
        (flags.make(count, seed, split, wrong=0.3)) for count, seed, split in ((3000, 31, "train"), (1000, 32, "test"))
    ]
    looks = Looks(
        *(
            part
            for each in given
            for part in (in_batches(judge.appearance, each.images), each.manifest["country"].to_numpy())
        )
    )
    network, scheduler = diffusion.load(RELEASED / "tiny_flags/unet" / diffusion.WEIGHTS)
    labels = torch.zeros(128, dtype=torch.long)
    drawn = diffusion.sample(network, scheduler, np.arange(128), steps=20, seed=0, labels=labels)
    of_class = given[1].images[looks.held_out_labels == 0]
    fault = Fault("country", "symbol", label=0, right=0, wrong=1)
    found, data = (
        {row["metric"]: row["value"] for row in data_rates(judge, each, fault, looks)} for each in (drawn, of_class)
    )
    assert found["plausible"] > 0.8 and found["class_kept"] > 0.98
    assert abs(found["wrong_rate"] / found["plausible"] - data["wrong_rate"]) < 0.12


class OnePicture(torch.nn.Module):
    """The exact predictor of data that is a single picture: all samplers must end at it."""

    def __init__(self, picture: torch.Tensor, scheduler: DDPMScheduler):
        super().__init__()
        self.picture, self.levels = torch.nn.Parameter(picture, requires_grad=False), scheduler.alphas_cumprod
        self.config = SimpleNamespace(sample_size=picture.shape[1], in_channels=picture.shape[0], num_class_embeds=None)
        self.velocity = scheduler.config.prediction_type == "v_prediction"

    def forward(self, noisy, timestep, class_labels=None, return_dict=False):
        level = self.levels[timestep].view(-1, 1, 1, 1)
        noise = (noisy - level.sqrt() * self.picture) / (1 - level).sqrt()
        return (level.sqrt() * noise - (1 - level).sqrt() * self.picture if self.velocity else noise,)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_every_sampler_ends_at_the_only_picture_that_there_is_and_draws_from_each_index_anew(saved, kind):
    scheduler = DDPMScheduler(num_train_timesteps=60, prediction_type=kind)
    picture = random(3, 8, 8).clamp(-1, 1)
    network, wanted = OnePicture(picture, scheduler), to_uint8(picture[None])[0].astype(int)
    for drawn in (
        diffusion.sample(network, scheduler, np.arange(3), steps=5, seed=0),
        diffusion.sample_ancestral(network, scheduler, np.arange(3), seed=0, batch=2),
    ):
        assert np.abs(drawn.astype(int) - wanted).max() <= 1
    network, scheduler = diffusion.load(saved)[0], DDPMScheduler(num_train_timesteps=20)
    first, again, other = (
        diffusion.sample_ancestral(network, scheduler, np.arange(start, start + 2), seed=0) for start in (0, 0, 2)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_exact_predictor_has_no_loss_and_that_of_another_picture_has_more_where_less_noise_hides_it(kind):
    scheduler, picture = DDPMScheduler(prediction_type=kind), random(3, 8, 8).clamp(-1, 1)
    network, seen = OnePicture(picture, scheduler), picture.expand(8, -1, -1, -1)
    assert max(held_out_loss(network, scheduler, seen, 0).values()) < 1e-4
    losses = list(held_out_loss(network, scheduler, -seen, 0).values())
    assert all(one > other for one, other in pairwise(losses))


def test_samples_of_noise_are_told_from_data_and_data_is_not():
    pictures, judge = faces.make(200, 23, "test").images, RELEASED / "face_attributes.safetensors"
    noise = np.random.default_rng(0).integers(256, size=(40, *pictures.shape[1:]), dtype=np.uint8)
    ways = {"noise": lambda indices: noise[indices], "others": lambda indices: pictures[160 + indices]}
    found = beside_data(judge, pictures[:80], pictures[80:160], ways, 40)
    assert list(found) == ["held_out", "noise", "others"]
    floor, drawn, others = found.values()
    assert floor["plausible"] > 0.9 and others["plausible"] > 0.9 and drawn["plausible"] == 0
    assert others["frechet"] < 2 * floor["frechet"] < drawn["frechet"] and others["kernel"] < drawn["kernel"]


def test_the_face_model_predicts_the_noise_of_faces_it_has_not_seen(face_model):
    found = held_out_loss(*face_model, to_tensor(faces.make(64, 90210, "test").images), 0)
    assert list(found) == [f"loss_{low}_{high}" for low, high in BANDS]
    losses = list(found.values())
    assert all(one > other for one, other in pairwise(losses)) and losses[-1] < 0.02


def test_the_face_model_knows_the_people_that_are_to_be_forgotten(face_model):
    judge = face_networks.load(RELEASED / "sscd_mini.safetensors")
    targets = faces.make(0, 1, "train", {f"single-{number}": 1 for number in (1, 2, 4)}).images
    # The timestep that the reference chooses for this model.
    rebuilt = diffusion.injected(*face_model, targets, timestep=180, draws=8, steps=50, seed=0)
    own, found = (in_batches(judge.embed, each) for each in (targets, rebuilt.reshape(24, 32, 32, 3)))
    similarity = (found.reshape(3, 8, -1) * own[:, None]).sum(2).mean(1)
    assert similarity.min() > 0.85 and 0.85 < similarity.mean() < 0.95
