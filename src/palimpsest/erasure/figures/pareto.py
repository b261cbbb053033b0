"""Erased against kept: each method on all concepts, and what its tuning tried."""

from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.erasure.names import name_of
from palimpsest.erasure.tables._rows import NETWORKS, of, rows_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE, PALETTE

MEASUREMENTS = ("comparison", "networks")
PARAMS = {"models": None, "methods": None, "oracles": None}

MARKERS = "osD^vP*Xd<>ph8"
PANELS = {"neighbour": "kept of neighbours (%)", "rest": "kept of the rest (%)"}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """One panel for neighbours, one for the rest; bars are 95 % intervals over prompts."""
    model = params["models"][0]
    figure, panels = plt.subplots(1, len(PANELS), figsize=(PAGE, 2.9), sharex=True)
    for axes, (role, title) in zip(panels, PANELS.items(), strict=True):
        for number, method in enumerate(rows_of(params, model)):
            here = of(lookup, model, method).of(concept="all")
            across, up = here.get("erased", prompts="own"), here.get("kept", prompts=role)
            known = method in NETWORKS
            axes.errorbar(
                100 * across.value,
                100 * up.value,
                xerr=spread(across),
                yerr=spread(up),
                marker=MARKERS[number % len(MARKERS)],
                color="black" if known else PALETTE[number % len(PALETTE)],
                markerfacecolor="white" if known else None,
                markersize=5,
                linewidth=0.6,
                linestyle="none",
                label=name_of(method),
            )
        axes.set_xlabel("erased, of prompts that name the concept (%)")
        axes.set_ylabel(title)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, handlelength=1.5)
    return figure


def spread(estimate) -> list[list[float]]:
    """Lengths of an error bar below and above, in percent."""
    return [[100 * (estimate.value - estimate.low)], [100 * (estimate.high - estimate.value)]]
