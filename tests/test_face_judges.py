"""The judges of faces: training's parts against closed forms, error rates of the released networks on new people."""

import numpy as np
import pytest
import torch

from conftest import ROOT
from palimpsest.judges import face_quality
from palimpsest.judges.batches import in_batches
from palimpsest.judges.face_networks import FaceNetwork, load
from palimpsest.judges.train_faces import damaged, descriptor_loss, disturbed, train
from palimpsest.models import weights
from palimpsest.models.pixels import to_tensor
from palimpsest.run import UserError
from palimpsest.worlds import faces
from palimpsest.worlds.damage import blurred, noisy

RELEASED = ROOT / "resources/models"
SEED = 90210  # of no training and no measured set


@pytest.fixture(scope="module")
def people() -> faces.World:
    return faces.make(600, SEED, "test")


@pytest.fixture(scope="module")
def descriptor() -> FaceNetwork:
    return load(RELEASED / "sscd_mini.safetensors")


@pytest.fixture(scope="module")
def regressor() -> FaceNetwork:
    return load(RELEASED / "face_attributes.safetensors")


def small(kind: str = "descriptor", outputs: int = 5) -> FaceNetwork:
    torch.manual_seed(0)
    return FaceNetwork(kind, outputs, 4, 16).eval()


# The released networks


def test_the_descriptor_tells_new_people_apart(descriptor, people):
    same, different = face_quality.similarities(descriptor, people.manifest, seed=SEED)
    assert np.quantile(same, 0.01) > np.quantile(different, 0.99)
    quality = face_quality.descriptor_quality(descriptor, people.manifest)
    assert quality["best_accuracy"] > 0.98 and quality["same_q1"] > quality["different_q99"]
    # The limit under which a picture counts as forgotten is one that strangers keep.
    assert quality["different_above_threshold"] < 0.05 and quality["same_above_threshold"] > 0.98


def test_descriptors_are_unit_vectors_and_an_edit_makes_a_stranger(descriptor, people):
    rows = people.manifest
    edited = faces.edit(rows[list(faces.IDENTITY)].to_numpy(), 1.0)
    pictures = faces.render(edited, rows[list(faces.NUISANCE)].to_numpy())
    own, others = (in_batches(descriptor.embed, images) for images in (people.images, pictures))
    assert np.allclose(np.linalg.norm(own, axis=1), 1, atol=1e-5)
    assert np.quantile((own * others).sum(1), 0.95) < 0.4


def test_every_attribute_is_read_off_new_people(regressor, people):
    quality = face_quality.attribute_quality(regressor, people.images, people.manifest)
    assert len(quality) == len(faces.IDENTITY) + len(faces.NUISANCE)
    assert min(quality.values()) > 0.8, quality
    # Read against other people's attributes it knows nothing.
    others = people.manifest.sample(frac=1, random_state=0)
    assert max(face_quality.attribute_quality(regressor, people.images, others).values()) < 0.2


def test_the_perceptual_distance_is_symmetric_and_grows_with_the_change(regressor, people):
    images = to_tensor(people.images[:64])
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    found = [regressor.distance(images, images + amount * noise) for amount in (0.0, 0.05, 0.2)]
    assert found[0].max() < 1e-9 and (found[2] > found[1]).all() and (found[1] > 0).all()
    assert torch.allclose(regressor.distance(images + 0.2 * noise, images), found[2], atol=1e-5)


def test_a_network_of_attributes_gives_no_descriptors(regressor):
    with pytest.raises(ValueError, match="'attributes' gives no descriptors"):
        regressor.embed(torch.zeros(1, 3, 32, 32))


# What they are made of


def test_a_network_survives_saving_and_a_wrong_file_is_refused(tmp_path):
    network, images = small(), torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    weights.save(tmp_path / "judge.safetensors", network, network.config)
    again = load(tmp_path / "judge.safetensors")
    assert torch.equal(again.embed(images), network.embed(images)) and not again.training
    assert again.features(images).shape == (3, 64) and again(images).shape == (3, 5)
    assert [layer.shape[2] for layer in again.stages.maps(images)] == [16, 8, 4, 2]
    weights.save(tmp_path / "other.safetensors", network, {**network.config, "outputs": 6})
    with pytest.raises(UserError, match=r"other\.safetensors does not fit.*\n.*head\.bias is \(5,\), expected \(6,\)"):
        load(tmp_path / "other.safetensors")


def test_batches_change_nothing(monkeypatch):
    network, pictures = (
        small().requires_grad_(False),
        np.random.default_rng(1).integers(0, 256, (10, 16, 16, 3), np.uint8),
    )
    images = to_tensor(pictures)
    monkeypatch.setattr("palimpsest.judges.batches.LARGEST", 3)
    assert np.allclose(in_batches(network.embed, pictures), network.embed(images), atol=1e-6)
    found = in_batches(network.distance, pictures, pictures[::-1])
    assert np.allclose(found, network.distance(images, images.flip(0)), atol=1e-6)


@pytest.mark.parametrize(("temperature", "spreading"), [(0.1, 0.0), (1.0, 0.3), (0.5, 2.0)])
def test_the_descriptors_loss_on_vectors_at_right_angles_and_on_equal_ones(temperature, spreading):
    count, sharp = 6, np.exp(1 / temperature)
    apart, collapsed = torch.eye(count, 8), torch.eye(count, 8)[:1].repeat(count, 1)
    found = descriptor_loss(apart, apart, temperature, spreading).item()
    wanted = -np.log(sharp / (sharp + count - 1)) - spreading * np.log(np.sqrt(2) + 1e-4)
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    # All descriptors alike: a guess among `count`, and no distance to the nearest.
    found = descriptor_loss(collapsed, collapsed, temperature, spreading).item()
    assert found == pytest.approx(np.log(count) - spreading * np.log(1e-4), rel=1e-4)
    # Views that are matched with the wrong person cost the whole difference of the logits more.
    found = descriptor_loss(apart, apart.roll(1, 0), temperature, 0.0).item()
    assert found == pytest.approx(-np.log(1 / (sharp + count - 1)), rel=1e-4)


def test_disturbing_keeps_the_shape_and_depends_on_the_generator_alone():
    images = to_tensor(faces.make(200, 0, "fit").images)
    first, again, other = (disturbed(images, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == images.shape and first.dtype == images.dtype
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert (first - images).abs().amax((1, 2, 3)).min() > 0
    # A picture without edges gets noise only, of a standard deviation up to 0.15, each picture its own.
    spread = disturbed(torch.full_like(images, 0.3), np.random.default_rng(3)).sub(0.3).std((1, 2, 3))
    assert spread.max() < 0.16 and spread.min() < 0.01 and spread.mean().item() == pytest.approx(0.075, abs=0.012)


def test_noise_and_blur_are_those_of_their_definitions():
    grey = np.full((2, 400, 400, 3), 128, np.uint8)
    found = noisy(grey, 25, np.random.default_rng(0)).astype(float)
    # Noise of 25 reaches the ends of the range seldom, of 150 often: nearly half of it is cut off.
    assert found.mean() == pytest.approx(128, abs=0.2) and found.std() == pytest.approx(25, rel=0.01)
    strong = noisy(grey, 150, np.random.default_rng(0))
    assert ((strong == 0) | (strong == 255)).mean() == pytest.approx(2 * 0.1978, abs=0.01)
    dot = np.zeros((1, 33, 33, 3), np.uint8)
    dot[0, 16, 16] = 255
    # A Gaussian of two pixels at its centre, and two pixels beside it.
    soft = blurred(dot, 2.0)[0, 16].astype(float)
    assert soft[16] == pytest.approx(255 / (2 * np.pi * 4), abs=0.6)
    assert soft[18] == pytest.approx(255 / (2 * np.pi * 4) * np.exp(-0.5), abs=0.6)
    assert (blurred(grey, 3.0) == 128).all()


def test_damage_grows_from_none_to_all_and_leaves_nothing_of_a_picture():
    images = to_tensor(faces.make(400, 0, "fit").images)
    whole, none = torch.ones(400), torch.zeros(400)
    assert torch.allclose(damaged(images, none, np.random.default_rng(1)), images, atol=1e-6)
    changes = [
        (damaged(images, torch.full((400,), level), np.random.default_rng(1)) - images).abs().mean((1, 2, 3))
        for level in (0.25, 0.5, 1.0)
    ]
    assert (changes[0] < changes[1] + 0.02).all() and (changes[1] < changes[2] + 0.02).all()
    lost = damaged(images, whole, np.random.default_rng(1))
    # Of four ways one each: the mean colour, and another picture, are left where all is lost.
    plain = (lost.std((2, 3)) < 1e-5).all(1)
    other = (lost == images.roll(1, 0)).all(3).all(2).all(1)
    assert plain.sum() == pytest.approx(100, abs=40) and other.sum() == pytest.approx(100, abs=40)
    assert not (plain & other).any() and lost.abs().max() <= 1


def test_a_descriptor_that_is_taught_damage_reads_it(tmp_path):
    """With the term a few steps suffice for pictures to differ from what is left of them; without it none do."""
    world = faces.make(64, 3, "fit", size=16)
    np.save(tmp_path / "images.npy", world.images)
    world.manifest.to_parquet(tmp_path / "manifest.parquet")
    files = [tmp_path / "images.npy", tmp_path / "manifest.parquet"] * 2
    params = {"kind": "descriptor", "outputs": 8, "width": 4, "batch": 16, "steps": 60, "learning_rate": 0.003}
    params |= {"temperature": 0.1, "spreading": 0.3}
    found = {}
    for damage in (0.0, 5.0):
        train(*files, tmp_path / f"{damage}.safetensors", params={**params, "damage": damage})
        curve = face_quality.damage_curve(load(tmp_path / f"{damage}.safetensors"), world.manifest, world.images)
        found[damage] = {(kind, amount): values.mean() for kind, amount, values in curve}
    assert found[5.0]["noise", 150] < found[0.0]["noise", 150] - 0.1
    assert found[5.0]["noise", 5] > 0.9
    assert set(found[0.0]) == {(kind, each) for kind, some in face_quality.AMOUNTS.items() for each in some}
