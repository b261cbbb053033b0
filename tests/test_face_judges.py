"""The judges of faces: training's parts against closed forms, error rates of the released networks on new people."""

import numpy as np
import pytest
import torch

from conftest import ROOT
from palimpsest.judges import face_quality
from palimpsest.judges.batches import in_batches
from palimpsest.judges.face_networks import FaceNetwork, load
from palimpsest.judges.train_faces import descriptor_loss, disturbed
from palimpsest.models import weights
from palimpsest.models.pixels import to_tensor
from palimpsest.run import UserError
from palimpsest.worlds import faces

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
