"""What each method draws: the concept by name, by another word, a neighbour, anything else, from the same noise."""

from pathlib import Path

from matplotlib.figure import Figure

from palimpsest.erasure.names import name_of
from palimpsest.report import erased_figures
from palimpsest.report.lookup import Lookup

INPUTS = (
    "<results>/erasure/{first_model}/networks/panel.npz",
    "<results>/erasure/{first_model}/comparison/{method}/panel.npz",
)
PARAMS = {
    "methods": None,
    "oracles": None,
    "studies": ["comparison"],
    "shown": ["own", "synonym", "neighbour", "rest"],
    "pictures": 2,
}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """Rows: the pretrained model, its oracle, the methods."""
    return erased_figures.pictures(inputs, params, name_of)
