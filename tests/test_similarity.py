"""Image distances against scikit-image, closed forms, and what a distance must be."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from palimpsest.judges.networks import FactorClassifier
from palimpsest.metrics.similarity import error_map, masked_mean, normalised, perceptual_map, psnr, ssim_map


@pytest.fixture(scope="module")
def pair():
    """Pictures and disturbed versions of them, (3, 3, 40, 48) in [-1, 1]; the last pair is unrelated."""
    generator = torch.Generator().manual_seed(0)
    first = torch.nn.functional.interpolate(torch.rand(3, 3, 10, 12, generator=generator) * 2 - 1, (40, 48))
    second = (first + 0.3 * torch.randn(first.shape, generator=generator)).clamp(-1, 1)
    second[2] = torch.rand(3, 40, 48, generator=generator) * 2 - 1
    return first, second


def channels_last(images):
    return images.permute(0, 2, 3, 1).numpy().astype(np.float64)


@pytest.mark.parametrize("window", [7, 11])
def test_ssim_is_that_of_scikit_image(pair, window):
    found = ssim_map(*pair, window)
    inner = slice(window // 2, -(window // 2))
    for index, images in enumerate(zip(*map(channels_last, pair), strict=True)):
        wanted, full = structural_similarity(*images, channel_axis=-1, data_range=2, win_size=window, full=True)
        assert found[index, inner, inner].mean() == pytest.approx(wanted, abs=1e-5)
        assert np.allclose(found[index, inner, inner], full.mean(-1)[inner, inner], atol=1e-5)


def test_ssim_of_equal_pictures_is_one(pair):
    assert torch.allclose(ssim_map(pair[0], pair[0]), torch.ones(3, 40, 48))


def test_psnr_is_the_closed_form(pair):
    assert psnr(0.01) == pytest.approx(20)
    assert psnr(1.0) == 0 and psnr(0.0) == float("inf")
    for index, images in enumerate(zip(*map(channels_last, pair), strict=True)):
        error = float(error_map(*pair)[index].mean())
        assert psnr(error) == pytest.approx(peak_signal_noise_ratio(*images, data_range=2), abs=1e-4)


def test_an_error_map_shows_where_pictures_differ():
    first = torch.zeros(1, 3, 4, 4)
    second = first.clone()
    second[0, 1, 2, 3] = 1.0
    found = error_map(first, second)
    assert found[0, 2, 3] == pytest.approx(0.25 / 3) and found.sum() == found[0, 2, 3]


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return FactorClassifier({"object": 4}, width=4).eval().requires_grad_(False)


def test_the_perceptual_distance_is_zero_for_equal_pictures(classifier, pair):
    features = normalised(classifier.features(pair[0]))
    assert torch.equal(perceptual_map(features, features), torch.zeros(3, 40, 48))


def test_the_perceptual_distance_is_positive_and_symmetric(classifier, pair):
    first, second = (normalised(classifier.features(images)) for images in pair)
    found, other = perceptual_map(first, second), perceptual_map(second, first)
    assert (found.mean((1, 2)) > 0).all()
    assert torch.allclose(found, other)
    # Channel-normalised features of four stages: each is at most 4 away.
    assert found.max() <= 16


def test_a_local_change_has_a_local_perceptual_distance(classifier):
    generator = torch.Generator().manual_seed(1)
    first = torch.rand(1, 3, 128, 128, generator=generator) * 2 - 1
    second = first.clone()
    second[..., 8:16, 8:16] *= -1
    found = perceptual_map(*(normalised(classifier.features(images)) for images in (first, second)))[0]
    assert found[8:16, 8:16].mean() > 0.01
    # Eight 3x3 convolutions, of strides 1 1 2 1 2 1 2 1, read no further than 1+1+1+2+2+4+4+8 = 23 pixels; the map is
    # blown up from cells of 8 pixels.
    assert found[16 + 24 + 8 :].max() == 0 and found[:, 16 + 24 + 8 :].max() == 0


def test_a_masked_mean_is_the_mean_of_what_is_kept():
    rng = np.random.default_rng(0)
    values, keep = rng.random((5, 6, 7)), rng.random((5, 6, 7)) < 0.4
    keep[3] = False
    found = masked_mean(torch.from_numpy(values), torch.from_numpy(keep)).numpy()
    for index in (0, 1, 2, 4):
        assert found[index] == pytest.approx(values[index][keep[index]].mean())
    assert np.isnan(found[3])
