"""How likely seeds of the concept's pictures, and of others, are under models: the source's histograms of NLL."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter
from scipy.stats import chi2, gaussian_kde

from palimpsest.memory.names import name_of
from palimpsest.report.erased import WITH_ORACLE, titled
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import GREY, PAGE, PALETTE
from palimpsest.report.typeset import Format, estimate

MEASUREMENTS = ("audit",)
INPUTS = (
    "<results>/memory/{first_model}/audit/networks/pictures.parquet",
    "<results>/memory/{first_model}/audit/{method}/pictures.parquet",
    "<results>/memory/{first_model}/audit/networks/seeds.npz",
)
PARAMS = {"models": None, "methods": None, "oracles": None}

SETS = {"concept": (PALETTE[3], "-", "E"), "neutral": (PALETTE[0], "--", "R")}
NETWORKS = ("pretrained", "oracle", "zero")
POINTS = 1000
TICKS = (-15, 0, 4, 40)
TOP = 1.6  # of the law's height
LINEAR = 4  # standard deviations up to which the axis is linear: some models' seeds lie ten times further out


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """A panel for each model, all concepts together, or those of the oracles where it says so.

    The law of N(0, I) is exact, in its standard deviations.
    """
    rows = pd.concat([pd.read_parquet(path) for path in inputs[:-1]], ignore_index=True)
    with np.load(inputs[-1]) as file:
        size = file[file.files[0]][0].size
    rows = rows[(rows["kind"] == "") & (rows["caption"] == "own") & rows["converged"]]
    oracles = params["oracles"][params["models"][0]]
    shown = {}
    for method, title, concept in titled([*NETWORKS, *params["methods"]], oracles, name_of):
        own = rows[rows["method"] == method]
        if len(own):
            measured = lookup.of(model=params["models"][0], method=method, concept=concept)
            own = own[own["concept"].isin(oracles)] if concept == WITH_ORACLE else own
            shown[title.replace(": ", ":\n")] = own, distances(measured)
    columns = 5
    lines = -(-len(shown) // columns)
    figure, panels = plt.subplots(
        lines, columns, figsize=(PAGE, 1.05 * lines + 0.35), sharex=True, sharey=True, squeeze=False
    )
    wide = rows.loc[rows["method"].isin([*NETWORKS, *params["methods"]]) & rows["set"].isin(SETS), "z"]
    ends = np.quantile(wide, [0.005, 0.995]) if len(wide) else (0.0, 0.0)  # none may have converged
    values = np.linspace(min(ends[0], -4) - 1, max(ends[1], 4) + 1, POINTS)
    law = chi2(size).pdf(size + np.sqrt(2 * size) * values) * np.sqrt(2 * size)
    for panel, (title, (own, told)) in zip(panels.flat, shown.items(), strict=False):
        panel.fill_between(values, law, color=GREY, alpha=0.4, linewidth=0, label="N(0, I)")
        for kind, (colour, style, called) in SETS.items():
            some = own.loc[own["set"] == kind, "z"].to_numpy()
            if len(some) > 1 and some.std() > 0:
                panel.plot(values, gaussian_kde(some)(values), color=colour, linestyle=style, label=called)
                panel.plot(
                    some, np.full(len(some), -0.02 - 0.025 * (kind == "neutral")), "|", color=colour, markersize=3
                )
        panel.text(0.03, 0.95, told, transform=panel.transAxes, fontsize=6, va="top")
        panel.set_title(title)
        panel.set_yticks([])
        panel.set_xscale("symlog", linthresh=LINEAR, linscale=2)
        panel.set_xticks([tick for tick in TICKS if values[0] < tick < values[-1]])
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_ylim(-0.09, TOP * law.max())  # what knows nothing is a line
    for panel in list(panels.flat)[len(shown) :]:
        panel.set_visible(False)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    figure.supxlabel("NLL of the seed, in standard deviations of N(0, I) about its mean", fontsize=8)
    return figure


def distances(here: Lookup) -> str:
    """W1 (nats) of the NLLs of E and of R to that of N(0, I), and the one over the other, the source's d_N."""
    own = here.of(caption="own")
    found = {called: (own.get("w1", set=kind), 0) for kind, (_, _, called) in SETS.items()}
    found["$d_N$"] = (own.get("w1_ratio", set="concept", reference="neutral"), 2)
    return "\n".join(f"{name} {estimate(value, Format(digits))[0]}" for name, (value, digits) in found.items())
