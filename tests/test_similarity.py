"""Image distances against scikit-image, closed forms, and what a distance must be."""

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from palimpsest.judges.networks import FactorClassifier
from palimpsest.metrics.similarity import (
    WINDOW,
    error_map,
    masked_mean,
    normalised,
    perceptual_map,
    psnr,
    ssim,
    ssim_map,
)
from palimpsest.models.pixels import to_tensor, to_unit

INNER = slice(WINDOW // 2, -(WINDOW // 2))


@pytest.fixture(scope="module")
def pictures():
    """Four photographs, and versions of them that differ in brightness, noise, contrast and altogether; uint8."""
    rng = np.random.default_rng(0)
    first = np.stack([picture[100:164, 100:180] for picture in (data.astronaut(), data.coffee(), data.chelsea())])
    first = np.concatenate([first, data.astronaut()[None, :64, 200:280]])
    second = first.astype(float)
    second[0] += 4
    second[1] += 20 * rng.standard_normal(second[1].shape)
    second[2] = 128 + (second[2] - 128) * 0.6
    second[3] = data.coffee()[200:264, 300:380]
    return first, second.round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def pair(pictures):
    """The same as images (4, 3, 64, 80) in [-1, 1], as the networks take them."""
    return tuple(map(to_tensor, pictures))


def scikit_image(first, second):
    """SSIM, and its map (H, W), of one pair."""
    value, full = structural_similarity(first, second, channel_axis=-1, win_size=WINDOW, full=True)
    return value, full.mean(-1)


def test_ssim_is_that_of_scikit_image(pictures):
    wanted = [scikit_image(*pair)[0] for pair in zip(*pictures, strict=True)]
    assert ssim(*pictures) == pytest.approx(wanted, abs=1e-6)
    assert ssim_map(*pictures).mean((1, 2)).numpy() == pytest.approx(wanted, abs=1e-6)
    assert wanted[3] < 0.2 < 0.95 < wanted[0]  # the pairs tell good from bad


def test_ssim_outside_a_mask_is_that_of_scikit_image(pictures):
    keep = np.ones((4, 64, 80), bool)
    keep[0, :30] = keep[1, 10:50, 20:60] = keep[2, :, 40:] = keep[3] = False
    keep[3, 0] = True  # only where scikit-image's value leaves the border out
    found = masked_mean(ssim_map(*pictures), torch.from_numpy(keep)).numpy()
    for index, pair in enumerate(zip(*pictures, strict=True)):
        full = scikit_image(*pair)[1][INNER, INNER]
        if index < 3:
            assert found[index] == pytest.approx(full[keep[index, INNER, INNER]].mean(), abs=1e-6)
    assert np.isnan(found[3])


@pytest.mark.parametrize("levels", [(127, 130), (0, 4), (128, 128), (251, 255)])
def test_ssim_of_grey_pictures_is_the_luminance_term(levels):
    """Without variance only the means count: (2ab + c) / (a^2 + b^2 + c), c = (0.01 * 255)^2."""
    low, high = levels
    stable = 2.55**2
    wanted = (2 * low * high + stable) / (low**2 + high**2 + stable)
    grey = [np.full((1, 16, 16, 3), level, np.uint8) for level in levels]
    assert ssim(*grey) == pytest.approx(wanted, abs=1e-6)
    assert levels != (127, 130) or ssim(*grey) == pytest.approx(0.9997, abs=5e-5)


def test_metrics_of_pixels_refuse_the_range_of_the_networks(pictures, pair):
    with pytest.raises(ValueError, match="needs uint8"):
        ssim_map(pictures[0], pair[1].permute(0, 2, 3, 1).numpy())
    with pytest.raises(ValueError, match="needs uint8"):
        ssim(pictures[0], pictures[1] / np.float32(255))
    with pytest.raises(ValueError, match="at least 7 pixels"):
        ssim(*(picture[:, :6] for picture in pictures))
    for images in (pair, (to_unit(pair[0]), pair[1]), (to_unit(pair[0]), torch.full_like(pair[1], torch.nan))):
        with pytest.raises(ValueError, match="give images in"):
            error_map(*images)


def test_psnr_is_that_of_scikit_image_and_the_closed_form(pictures, pair):
    assert psnr(0.01) == pytest.approx(20)
    assert psnr(1.0) == 0 and psnr(0.0) == float("inf")
    errors = error_map(*map(to_unit, pair)).mean((1, 2))
    for error, images in zip(errors, zip(*pictures, strict=True), strict=True):
        assert psnr(float(error)) == pytest.approx(peak_signal_noise_ratio(*images), abs=1e-4)


def test_an_error_map_shows_where_pictures_differ():
    first = torch.zeros(1, 3, 4, 4)
    second = first.clone()
    second[0, 1, 2, 3] = 0.5
    found = error_map(first, second)
    assert found[0, 2, 3] == pytest.approx(0.25 / 3) and found.sum() == found[0, 2, 3]


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return FactorClassifier({"object": 4}, width=4).eval().requires_grad_(False)


def test_the_perceptual_distance_is_zero_for_equal_pictures(classifier, pair):
    features = normalised(classifier.features(pair[0]))
    assert torch.equal(perceptual_map(features, features), torch.zeros(4, 64, 80))


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
