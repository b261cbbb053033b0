"""Methods look the same in every figure, and apart in each."""

import pytest
from matplotlib.colors import to_rgb

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
