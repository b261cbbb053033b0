"""The one look of every figure: sizes of the page, colours, saving."""

from pathlib import Path

import matplotlib as mpl
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

mpl.use("agg")

COLUMN = 3.35  # inches: the width of one column of the paper
PAGE = 6.95  # inches: both columns
PNG_HEIGHT = 1200  # pixels: the report cuts taller pictures
PALETTE = sns.color_palette("colorblind")
GREY = "0.55"


def apply() -> None:
    """Set fonts, lines and colours for everything drawn next."""
    sns.set_theme(context="paper", style="ticks", palette="colorblind")
    mpl.rcParams.update(
        {
            "font.size": 8,
            "axes.labelsize": 8,
            "axes.titlesize": 8,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "legend.fontsize": 7,
            "legend.frameon": False,
            "axes.linewidth": 0.6,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "lines.linewidth": 1.2,
            "lines.markersize": 4,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "figure.constrained_layout.use": True,
            "pdf.fonttype": 42,
            "image.interpolation": "nearest",
        }
    )


def save(figure: Figure, pdf: Path, png: Path) -> None:
    """Save a figure reproducibly (no dates), the PNG at most PNG_HEIGHT pixels high."""
    figure.savefig(pdf, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
    dpi = min(200, PNG_HEIGHT / figure.get_size_inches()[1])
    figure.savefig(png, format="png", dpi=int(dpi), metadata={"Software": None})
    plt.close(figure)
