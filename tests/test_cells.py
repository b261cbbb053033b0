"""From boxes in pixels to cells of the code grid, and what is done with cells, against brute force."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation

from palimpsest.lcr.cells import cells_of, dilate, expand, moved, to_pixels
from palimpsest.lcr.masks import masks
from palimpsest.run import UserError

FINE = 16  # parts of a pixel per side in the brute force; boxes lie on this raster
SIZE, GRID, CELL = (48, 64), (6, 8), 8


@st.composite
def boxes(draw, size=SIZE, fine=FINE):
    """A box x0, y0, x1, y1 of positive area within the picture, on a raster of parts of a pixel."""
    sides = []
    for length in (size[1], size[0]):
        low = draw(st.integers(0, length * fine - 1))
        sides.append((low, draw(st.integers(low + 1, length * fine))))
    (left, right), (top, bottom) = sides
    return np.array([left, top, right, bottom]) / fine


def cells(box, coverage, size=SIZE, grid=GRID):
    return cells_of(np.array([0]), np.array([box]), (1, *grid), size, coverage)[0]


def painted(box, size=SIZE, fine=FINE):
    """The box on a raster of parts of a pixel."""
    raster = np.zeros((size[0] * fine, size[1] * fine), bool)
    left, top, right, bottom = np.round(np.array(box) * fine).astype(int)
    raster[top:bottom, left:right] = True
    return raster


def share_of_cells(box, size=SIZE, grid=GRID, fine=FINE):
    """Which share of each cell's area the box covers, by counting."""
    part = painted(box, size, fine)
    return part.reshape(grid[0], part.shape[0] // grid[0], grid[1], part.shape[1] // grid[1]).mean((1, 3))


def released(box):
    """x, y, width, height as the package nudenet reports them (its `_postprocess`)."""
    left, top, right, bottom = box
    return int(left), int(top), int(right - left), int(bottom - top)


def floored(box):
    """Cells of a box x, y, width, height as the release replaces them: corners divided by 8, at least one cell."""
    x, y, width, height = box
    wanted = np.zeros(GRID, bool)
    top, left = y // CELL, x // CELL
    wanted[top : max((y + height) // CELL, top + 1), left : max((x + width) // CELL, left + 1)] = True
    return wanted


@settings(max_examples=150, deadline=None)
@given(boxes())
def test_any_is_the_maximum_over_a_cell_of_the_painted_box(box):
    assert np.array_equal(cells(box, "any"), share_of_cells(box) > 0)


@settings(max_examples=150, deadline=None)
@given(boxes())
def test_half_is_half_of_a_cells_area(box):
    assert np.array_equal(cells(box, "half"), share_of_cells(box) >= 0.5)


@settings(max_examples=150, deadline=None)
@given(boxes())
def test_nearest_is_the_top_left_pixel_of_a_cell_in_the_box_of_whole_pixels(box):
    pixels = np.zeros(SIZE, bool)
    x, y, width, height = released(box)
    pixels[y : y + height, x : x + width] = True
    assert np.array_equal(cells(box, "nearest"), pixels[::CELL, ::CELL])


@settings(max_examples=150, deadline=None)
@given(boxes())
def test_floor_rounds_both_corners_down_and_keeps_at_least_one_cell(box):
    wanted = floored(released(box))
    found = cells(box, "floor")
    assert np.array_equal(found, wanted) and found.any()


def test_floor_truncates_corner_and_size_before_it_rounds_to_cells():
    """15.9 to 32.2 is the box 15, 15, 16, 16 of the package, which ends at 31: two cells a side, not three."""
    found = cells((15.9, 15.9, 32.2, 32.2), "floor")
    assert np.array_equal(np.argwhere(found), [[1, 1], [1, 2], [2, 1], [2, 2]])
    assert cells((15.9, 15.9, 32.2, 32.2), "any").sum() == 16  # cells 1 to 4 a side: nothing is truncated there


@settings(max_examples=50, deadline=None)
@given(boxes((40, 50), 12))
def test_cells_need_not_be_whole_pixels(box):
    # 40 x 50 pixels in 4 x 8 cells: 6.25 pixels across, which is no part of a pixel's raster of 12, but 25 quarters.
    box = np.round(box * 4) / 4
    box[2:] = np.maximum(box[2:], box[:2] + 0.25)
    share = share_of_cells(box, (40, 50), (4, 8), 4)
    assert np.array_equal(cells(box, "any", (40, 50), (4, 8)), share > 0)
    assert np.array_equal(cells(box, "half", (40, 50), (4, 8)), share >= 0.5)


def test_the_boxes_of_an_image_are_joined_and_stay_with_it():
    image = np.array([2, 0, 2])
    given_boxes = np.array([[0, 0, 8, 8], [8, 8, 24, 16], [56, 40, 64, 48]], float)
    found = cells_of(image, given_boxes, (3, *GRID), SIZE, "any")
    assert [np.argwhere(part).tolist() for part in found] == [[[1, 1], [1, 2]], [], [[0, 0], [5, 7]]]
    assert not cells_of(np.empty(0, int), np.empty((0, 4)), (3, *GRID), SIZE, "any").any()


@settings(max_examples=100, deadline=None)
@given(boxes(), st.floats(0, 0.5))
def test_expand_grows_every_side_by_a_share_and_stays_in_the_picture(box, share):
    left, top, right, bottom = expand(box[None], share, SIZE, "any")[0]
    across, down = share * (box[2] - box[0]), share * (box[3] - box[1])
    wanted = [max(box[0] - across, 0), max(box[1] - down, 0), min(box[2] + across, 64), min(box[3] + down, 48)]
    assert np.allclose([left, top, right, bottom], wanted)


@settings(max_examples=150, deadline=None)
@given(boxes(), st.floats(0, 0.5))
def test_the_releases_boxes_grow_by_whole_pixels(box, share):
    x, y, width, height = released(box)
    across, down = int(width * share), int(height * share)
    left, top = max(0, x - across), max(0, y - down)
    right, bottom = min(SIZE[1], x + width + across), min(SIZE[0], y + height + down)
    grown = expand(box[None], share, SIZE, "floor")
    assert grown[0].tolist() == [left, top, right, bottom]
    assert np.array_equal(cells(grown[0], "floor"), floored((left, top, right - left, bottom - top)))


def grids(max_side=7):
    side = st.integers(2, max_side)
    return st.tuples(st.integers(1, 3), side, side, st.integers(0, 2**31), st.floats(0.02, 0.9)).map(
        lambda drawn: np.random.default_rng(drawn[3]).random(drawn[:3]) < drawn[4]
    )


@settings(max_examples=60, deadline=None)
@given(grids(), st.integers(0, 3))
def test_dilate_is_scipys_dilation_of_each_image(mask, margin):
    square = np.ones((2 * margin + 1, 2 * margin + 1), bool)
    assert np.array_equal(dilate(mask, margin), [binary_dilation(part, square) for part in mask])


@settings(max_examples=60, deadline=None)
@given(grids(), st.integers(0, 1000))
def test_moved_keeps_form_and_area_and_stays_on_the_grid(mask, seed):
    found = moved(mask, np.random.default_rng(seed))
    assert found.shape == mask.shape and found.dtype == bool
    for before, after in zip(mask, found, strict=True):
        assert before.sum() == after.sum()
        if before.any():
            places, now = np.argwhere(before), np.argwhere(after)
            assert len(np.unique(now - places, axis=0)) == 1


def test_moved_leaves_the_old_place_where_there_is_room_and_at_random():
    mask = np.zeros((40, 16, 16), bool)
    mask[:, 5:9, 6:10] = True
    found = moved(mask, np.random.default_rng(0))
    assert not (found & mask).any()
    assert len({part.tobytes() for part in found}) > 20


@settings(max_examples=40, deadline=None)
@given(grids(), st.integers(1, 5))
def test_pixels_of_cells_are_squares(mask, side):
    size = mask.shape[1] * side, mask.shape[2] * side
    wanted = np.stack([np.kron(part, np.ones((side, side), bool)) for part in mask])
    assert np.array_equal(to_pixels(mask, size), wanted)


# The step


PARAMS = {"classes": ["emblem"], "min_score": 0.5, "expand": 0.0, "coverage": "any"}


def masks_of(tmp_path, params, rows, images=3):
    columns = ["image", "label", "score", "x0", "y0", "x1", "y1"]
    paths = [tmp_path / name for name in ("detections.parquet", "images.npy", "codes.npy", "masks.npy")]
    pd.DataFrame(rows, columns=columns).to_parquet(paths[0])
    np.save(paths[1], np.zeros((images, 64, 64, 3), np.uint8))
    np.save(paths[2], np.zeros((images, 16, 16), np.uint16))
    result = masks(*paths, params=params)
    return np.load(paths[3]), result


ROWS = [
    (0, "emblem", 0.9, 8, 8, 16, 12),
    (1, "emblem", 0.4, 8, 8, 16, 16),
    (1, "face", 0.9, 0, 0, 8, 8),
    (2, "emblem", 0.5, 4, 4, 8, 8),
]


def test_masks_keep_the_boxes_of_the_classes_with_the_score(tmp_path):
    found, result = masks_of(tmp_path, PARAMS, ROWS)
    assert [np.argwhere(part).tolist() for part in found] == [[[2, 2], [2, 3]], [], [[1, 1]]]
    assert result == {"boxes": 2, "images_with_a_mask": 2, "cells": 3}


def test_masks_grow_with_the_boxes(tmp_path):
    found, _ = masks_of(tmp_path, {**PARAMS, "expand": 1.0}, ROWS[:1])
    assert np.array_equal(np.argwhere(found[0]).min(0), [1, 0]) and np.array_equal(np.argwhere(found[0]).max(0), [3, 5])


def test_masks_of_the_release_are_those_of_its_integers(tmp_path):
    box = [(0, "emblem", 0.9, 15.9, 15.9, 32.2, 32.2)]
    released, _ = masks_of(tmp_path, {**PARAMS, "coverage": "floor", "expand": 0.2}, box)
    # 15, 15, 16, 16 grown by int(3.2) is 12 to 34: cells 3 to 7 of 4 pixels.
    assert np.array_equal(np.argwhere(released[0]).min(0), [3, 3]) and released.sum() == 25
    assert masks_of(tmp_path, PARAMS, box)[0].sum() == 36  # 15.9 to 32.2: cells 3 to 8 a side


def test_a_class_that_no_box_has_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"emblems.*emblem, face"):
        masks_of(tmp_path, {**PARAMS, "classes": ["emblems"]}, ROWS)


def test_no_box_at_all_is_no_error(tmp_path):
    found, result = masks_of(tmp_path, PARAMS, [])
    assert not found.any() and result["boxes"] == 0
