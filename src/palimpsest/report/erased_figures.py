"""Figures of what edited models still show, for every family whose methods erase concepts.

`name_of` is how a family writes its identifiers. Measurements are those of `judges.judging`.
"""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palimpsest.metrics.censor import publishable
from palimpsest.report.erased import ALL, NETWORKS, WITH_ORACLE, Names, comparable, made, of, rows_of, title_on
from palimpsest.report.looks import look_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE, PALETTE
from palimpsest.report.typeset import Estimate

MARK_SIZE = 5  # points
MARKERS = {"pretrained": "o", "oracle": "s", "random": "D"}  # of networks that nothing was erased from
PANELS = {"neighbour": "kept of neighbours (%)", "rest": "kept of the rest (%)"}


def pareto(lookup: Lookup, params: dict, name_of: Names) -> Figure:
    """Erased against kept: one panel for neighbours, one for the rest; bars are 95 % intervals, as the table’s."""
    model = params["models"][0]
    oracles = params["oracles"][model]
    figure, panels = plt.subplots(1, len(PANELS), figsize=(PAGE, 2.9), sharex=True)
    for axes, (role, title) in zip(panels, PANELS.items(), strict=True):
        for method in rows_of(params, model):
            here = of(lookup, model, method).of(concept=WITH_ORACLE if method == "oracle" else ALL)
            across, up = here.get("erased", prompts="own"), here.get("kept", prompts=role)
            known = method in NETWORKS
            axes.errorbar(
                100 * across.value,
                100 * up.value,
                xerr=spread(across),
                yerr=spread(up),
                marker=MARKERS[method] if known else look_of(method).marker,
                color="black" if known else look_of(method).color,
                markerfacecolor="white" if known else None,
                markersize=MARK_SIZE,
                linewidth=0.6,
                linestyle="none",
                label=title_on(method, oracles, name_of) if method == "oracle" else name_of(method),
            )
        press_no_methods(axes, lookup.of(concept=ALL), params, role, name_of)
        axes.set_xlabel("erased, of prompts that name the concept (%)")
        axes.set_ylabel(title)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, handlelength=1.5)
    figure.draw_without_rendering()  # lays the panels out: what hides what depends on their size
    for axes in panels:
        show_all_marks(axes)
    return figure


def show_all_marks(axes: Axes) -> None:
    """Move marks that hide each other side by side, each joined to its place, where its whiskers cross, by a line."""
    marks = [container.lines[0] for container in axes.containers]
    shown = [mark for mark in marks if axes.viewLim.contains(*mark.get_xydata()[0])]
    places = np.array([mark.get_xydata()[0] for mark in shown])
    pixels = axes.transData.transform(places)
    moved = axes.transData.inverted().transform(apart(pixels, MARK_SIZE * axes.figure.dpi / 72))
    for mark, place, there in zip(shown, places, moved, strict=True):
        mark.set_data(*there[:, None])
        mark.set_clip_on(False)
        axes.plot(*zip(place, there, strict=True), color=mark.get_color(), linewidth=0.6, clip_on=False)


def apart(places: np.ndarray, least: float) -> np.ndarray:
    """Places (n, 2) as they are, but for those nearer to each other than `least`, which are pushed apart."""
    # Places that coincide have no direction to be pushed in: each is given one of its own.
    turns = 2 * np.pi * np.arange(len(places)) / len(places)
    moved = places + 1e-3 * least * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    for _ in range(1000):
        between = moved[:, None] - moved
        length = np.hypot(*between.T).T + np.diag([np.inf] * len(places))
        push = np.clip(least - length, 0, None)
        if push.max(initial=0) < 1e-3 * least:
            break
        moved += (between * (push / length / 2)[..., None]).sum(1)
    near = np.hypot(*(moved - places).T) > 2e-3 * least
    return np.where(near[:, None], moved, places)


def press_no_methods(axes: Axes, lookup: Lookup, params: dict, role: str, name_of: Names) -> None:
    """Leave a network that knows nothing below a panel where it would press all methods into one line, and say so."""
    model = params["models"][0]
    lowest = min(of(lookup, model, method).get("kept", prompts=role).low for method in params["methods"])
    unknown = of(lookup, model, "random")
    kept, bottom = unknown.get("kept", prompts=role), 100 * lowest - 4
    if 100 * kept.high < bottom:
        axes.set_ylim(bottom, 101)
        erased = unknown.get("erased", prompts="own")
        told = f"below: {name_of('random')}, {100 * erased.value:.0f} % erased, {100 * kept.value:.0f} % kept"
        axes.text(0.02, 0.03, told, transform=axes.transAxes, fontsize=6)


def spread(*estimates: Estimate) -> np.ndarray:
    """Lengths of error bars below and above (2, n), in percent."""
    return 100 * np.array([[each.value - each.low, each.high - each.value] for each in estimates]).T


LINES = {"pretrained": "-", "oracle": "--"}


def attack_panels(lookup: Lookup, params: dict, name_of: Names, titles: dict[str, str]) -> Figure:
    """A panel for each attack that was made, rows: methods; lines: networks that nothing was erased from.

    Bars are 95 % intervals over pictures. Of the concepts that there is an oracle of, so that its line is of what the
    methods are.
    """
    model, methods, found = params["models"][0], params["methods"], made(lookup, titles)
    concept, size = comparable(params, model), (PAGE, 0.17 * len(methods) + 1.0)
    figure, panels = plt.subplots(1, len(found), figsize=size, sharex=True, sharey=True, squeeze=False)
    panels, places = panels[0], np.arange(len(methods))[::-1]
    for axes, attack in zip(panels, found, strict=True):
        shown = [of(lookup, model, method).get("recovered", prompts=attack, concept=concept) for method in methods]
        values, low, high = (100 * np.array([getattr(each, key) for each in shown]) for key in ("value", "low", "high"))
        axes.errorbar(
            values, places, xerr=[values - low, high - values], fmt="o", color=PALETTE[0], markersize=3, linewidth=0.7
        )
        for network, line in LINES.items():
            if network == "pretrained" or params["oracles"][model]:
                share = of(lookup, model, network).get("recovered", prompts=attack, concept=concept).value
                axes.axvline(100 * share, color="black", linestyle=line, linewidth=0.8, label=name_of(network))
        axes.set_title(titles[attack], fontsize=7)
        axes.set_xlim(-5, 105)
        axes.set_xticks([0, 50, 100])
    panels[0].set_yticks(places, [name_of(method) for method in methods], fontsize=7)
    figure.supxlabel("pictures that show the concept (%)", fontsize=8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(LINES))
    return figure


MOST_SHOWN = 3  # concepts of a grid of pictures
TITLES = {"own": "by name", "synonym": "synonym", "neighbour": "neighbour", "rest": "other"}


def pictures(inputs: list[Path], params: dict, name_of: Names) -> Figure:
    """Rows: the pretrained model, its oracle, the methods; columns: concepts, and in each the kinds of prompts.

    inputs: the panels of the networks, then of each method. Of many concepts the first are shown, so that pictures can
    be told apart in print.
    """
    study, count = params["studies"]["comparison"], params["pictures"]
    seed, concepts, roles = study["seeds"][0], study["concepts"][:MOST_SHOWN], params["shown"]
    known = ["pretrained", *(["oracle"] if any(params["oracles"].values()) else [])]
    rows = [*known, *params["methods"]]
    figure, axes = plt.subplots(len(rows), len(concepts), figsize=(PAGE, 0.36 * len(rows) + 0.5), squeeze=False)
    for line, method, path in zip(axes, rows, [inputs[0]] * len(known) + inputs[1:], strict=True):
        with np.load(path) as file:
            for axis, concept in zip(line, concepts, strict=True):
                axis.set_xticks([])
                axis.set_yticks([])
                axis.spines[:].set_visible(False)
                start, end = f"{method}.{concept}.", f".{seed}"
                if found := [name for name in file.files if name.startswith(start) and name.endswith(end)]:
                    axis.imshow(strip(file[found[0]], file["roles"], roles, count))
        line[0].set_ylabel(name_of(method), rotation=0, ha="right", va="center", fontsize=7)
    for axis, concept in zip(axes[0], concepts, strict=True):
        axis.set_title(f"{name_of(concept)}\n{' | '.join(TITLES[role] for role in roles)}", fontsize=6)
    return figure


def strip(panel: np.ndarray, shown: np.ndarray, roles: list[str], count: int) -> np.ndarray:
    """The first pictures of each role side by side, a white gap between roles; shown: the role of each of the panel."""
    size, parts = panel.shape[1], []
    for role in roles:
        pictures = panel[np.flatnonzero(shown == role)[:count]]
        parts += [*publishable(pictures, explicit=False), np.full((size, 6, 3), 255, np.uint8)]
    return np.concatenate(parts[:-1], axis=1)
