"""Methods look the same in every figure, and apart in each."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from scipy.spatial.distance import pdist

from palimpsest.report.erased_figures import MARK_SIZE, apart, show_all_marks
from palimpsest.report.looks import LINES, LOOKS, UNKNOWN, look_of
from palimpsest.unlearning.names import ERASERS, FORGETTERS
from palimpsest.var.names import NAMES

NEXT_SCALE = list(NAMES)[list(NAMES).index("naive") : list(NAMES).index("ascent") + 1]


def test_lines_are_seen_on_white():
    for colour in LINES:
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) > 2, colour
    assert len({tuple(to_rgb(colour)) for colour in LINES}) == len(LINES) >= 10


@pytest.mark.parametrize("methods", [ERASERS, [*FORGETTERS, "neggrad"], NEXT_SCALE], ids=["erase", "forget", "var"])
def test_methods_of_one_figure_are_told_apart(methods):
    assert set(methods) <= set(LOOKS)
    assert len({look_of(method) for method in methods}) == len(methods)


def test_kin_share_a_colour_and_a_new_method_is_drawn():
    assert look_of("esd_x").color == look_of("esd").color == look_of("esd_vare").color
    assert look_of("mine") == UNKNOWN


def test_marks_that_hide_each_other_are_moved_apart_and_no_other_is():
    places = np.array([[0.0, 0], [50, 50], [50, 50], [50, 50], [53, 50], [90, 10]])
    moved = apart(places, 5)
    assert pdist(moved).min() > 0.99 * 5 and np.abs(moved - places).max() < 15
    assert np.array_equal(moved[[0, 5]], places[[0, 5]])


def test_every_mark_of_a_panel_is_seen_and_tied_to_its_value():
    figure, axes = plt.subplots()
    for _ in range(3):
        axes.errorbar(100, 98, xerr=[[5], [0]], yerr=[[2], [1]], marker="o", markersize=MARK_SIZE, linestyle="none")
    axes.errorbar(20, 10, xerr=1, yerr=1, marker="o", markersize=MARK_SIZE, linestyle="none")
    axes.set_ylim(90, 101)  # leaves the last below
    show_all_marks(axes)
    marks = [container.lines[0].get_xydata()[0] for container in axes.containers]
    points = axes.transData.transform(marks[:3]) * 72 / figure.dpi
    assert pdist(points).min() > 0.99 * MARK_SIZE and tuple(marks[3]) == (20, 10)
    ties = [line.get_xydata() for line in axes.lines[-3:]]
    assert all(
        tuple(start) == (100, 98) and np.allclose(end, mark) for (start, end), mark in zip(ties, marks[:3], strict=True)
    )
