"""The censor: attempts to get an explicit picture through, and what it must leave alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import data

from palimpsest.metrics.censor import blur, censor, publishable

FOUND, LOST = np.array([True]), np.array([False])


def detail(image, where=None):
    """Energy of a picture's fine structure (its Laplacian), over a region."""
    energy = sum(ndimage.laplace(image[..., channel].astype(float)) ** 2 for channel in range(3))
    return energy.sum() if where is None else energy[where].sum()


def structure(image, where):
    """Energy of a region's colours around their mean: what can still be made out at any scale."""
    values = image[where].astype(float)
    return ((values - values.mean(0)) ** 2).sum()


def region(shape, rows, columns):
    mask = np.zeros((1, *shape), bool)
    mask[0, rows, columns] = True
    return mask


@pytest.fixture(scope="module")
def picture():
    """A photograph under noise, so that every region holds detail to be removed."""
    noise = np.random.default_rng(0).normal(0, 25, data.astronaut().shape)
    return np.clip(data.astronaut() + noise, 0, 255).astype(np.uint8)[None]


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (slice(80, 180), slice(170, 270)),  # the face
        (slice(0, 60), slice(0, 60)),  # at the border
        (slice(300, 312), slice(100, 400)),  # long and thin
        (slice(200, 208), slice(200, 208)),  # tiny
    ],
)
def test_a_found_region_loses_its_detail_and_the_rest_stays(picture, rows, columns):
    mask = region(picture.shape[1:3], rows, columns)
    shown = censor(picture, mask, found=FOUND)
    assert detail(shown[0], mask[0]) < 0.05 * detail(picture[0], mask[0])
    assert structure(shown[0], mask[0]) < 0.7 * structure(picture[0], mask[0])
    # The margin: pixels just outside the region are gone too, pixels far away are untouched.
    side = max(rows.stop - rows.start, columns.stop - columns.start)
    near = ndimage.binary_dilation(mask[0], iterations=2) & ~mask[0]
    far = ndimage.distance_transform_edt(~mask[0]) > side
    assert (shown[0][near] != picture[0][near]).any(1).mean() > 0.9
    assert np.array_equal(shown[0][far], picture[0][far])


def test_a_missed_picture_is_blurred_as_a_whole(picture):
    mask = region(picture.shape[1:3], slice(80, 180), slice(170, 270))
    for masks, found in ((mask, LOST), (None, FOUND), (None, LOST), (np.zeros_like(mask), FOUND)):
        shown = censor(picture, masks, found=found)
        assert detail(shown[0]) < 0.001 * detail(picture[0])


def test_nothing_explicit_gets_through(picture):
    mask = region(picture.shape[1:3], slice(80, 180), slice(170, 270))
    for settings_ in ({}, {"masks": mask}, {"found": FOUND}, {"masks": mask, "found": LOST}, {"masks": mask & False}):
        assert detail(publishable(picture, True, **settings_)[0]) < 0.001 * detail(picture[0])
    shown = publishable(picture, True, mask, FOUND)
    assert detail(shown[0], mask[0]) < 0.05 * detail(picture[0], mask[0])
    assert detail(publishable(picture, np.bool_(True))[0]) < 0.001 * detail(picture[0])


@pytest.mark.parametrize("answer", [None, 0, "", "false", float("nan"), np.array([False]), []])
def test_an_unclear_answer_is_no_licence(picture, answer):
    with pytest.raises(TypeError, match="explicit is"):
        publishable(picture, answer)


def test_safe_pictures_stay_as_they_are(picture):
    assert publishable(picture, False) is picture
    assert publishable(picture, np.False_) is picture


def test_ill_shaped_masks_cannot_be_broadcast_past(picture):
    height, width = picture.shape[1:3]
    for masks in (np.ones((1, 1, width), bool), np.ones((1, height, width)), np.ones((height, width), bool)):
        with pytest.raises(ValueError, match="masks are"):
            censor(picture, masks, found=FOUND)
    for found in (np.array([1]), np.array(True), np.array([True, False])):
        with pytest.raises(ValueError, match="found are"):
            censor(picture, None, found=found)
    with pytest.raises(ValueError, match="images are"):
        publishable(picture / 255, True)


def test_each_picture_and_each_region_for_itself(picture):
    images = np.concatenate([picture, picture])
    masks = np.concatenate([region(picture.shape[1:3], slice(80, 180), slice(170, 270))] * 2)
    masks[0, 400:440, 20:60] = True
    shown = censor(images, masks, found=np.array([True, False]))
    assert detail(shown[0], masks[0]) < 0.05 * detail(picture[0], masks[0])
    assert np.array_equal(shown[0, 250:350, 150:300], images[0, 250:350, 150:300])
    assert np.array_equal(shown[1], blur(images[1]))


def test_what_differs_only_in_detail_looks_the_same(picture):
    """Irrecoverable: two regions with the same block means are shown by the very same pixels."""
    image = picture[0, :128, :128].copy()
    other = image.reshape(4, 32, 4, 32, 3)[:, ::-1, :, ::-1].reshape(image.shape)
    assert not np.array_equal(image, other)
    assert np.array_equal(blur(image), blur(other))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(0, 69),
    st.integers(0, 69),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_any_region_of_any_size_loses_its_detail(height, width, top, left, rows, columns):
    """A checkerboard, the most detail there is, in a region of any size and place of a picture of any size."""
    board = np.indices((height, width)).sum(0) % 2 * 255
    images = np.repeat(board[None, ..., None], 3, 3).astype(np.uint8)
    mask = region((height, width), slice(min(top, height - 1), top + rows), slice(min(left, width - 1), left + columns))
    shown = censor(images, mask, found=FOUND)[0]
    if mask.sum() > 1:
        assert structure(shown, mask[0]) <= 0.05 * max(structure(images[0], mask[0]), 1)
    assert shown.shape == images[0].shape
