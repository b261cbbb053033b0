"""Does the choice of the detector's threshold decide the comparison?"""

from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.lcr.figures._common import curve
from palimpsest.lcr.names import name_of
from palimpsest.lcr.thresholds import THRESHOLD
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import COLUMN, GREY, PALETTE

MEASUREMENTS = ("reconstruction", "grid")
PARAMS = {
    "models": None,
    "rules": ["random_safe", "nn_embed", "masked_requant", "shuffle_in_mask", "border_fill", "black"],
    "sets": ["forget_test"],
}

MARKERS = "sD^vP*X<>"
DASHES = ("--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
# A patch of black is drawn in black: no other colour would be read as it.
COLOURS = {"black": "black"}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """One panel per model: detection at every threshold for params["rules"] and the plain reconstruction."""
    models = params["models"]
    figure, panels = plt.subplots(
        len(models), 1, figsize=(COLUMN, 1.9 * len(models) + 0.6), sharex=True, sharey=True, squeeze=False
    )
    for axes, model in zip(panels[:, 0], models, strict=True):
        here = lookup.of(model=model, set=params["sets"]["forget_test"])
        axes.axvline(THRESHOLD, color=GREY, linewidth=0.6, zorder=0)
        plain = here.rows("detection_rate_at", method="reconstruction")
        curve(axes, plain, "threshold", color=GREY, marker="o", clip_on=False, label="plain reconstruction")
        for index, rule in enumerate(params["rules"]):
            look = {
                "color": COLOURS.get(rule, PALETTE[index % len(PALETTE)]),
                "marker": MARKERS[index % len(MARKERS)],
                "linestyle": DASHES[index % len(DASHES)],
            }
            rows = here.rows("detection_rate_at", method=rule, scope="mask", cells="all", top="")
            curve(axes, rows, "threshold", clip_on=False, label=name_of(rule), **look)
        axes.set(title=name_of(model), ylabel="concept found")
        axes.set_ylim(0, 1)
    panels[-1, 0].set_xlabel("threshold of the held-out detector’s score")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, handlelength=3)
    return figure
