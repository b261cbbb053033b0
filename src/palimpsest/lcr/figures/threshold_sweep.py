"""Does the choice of the detector's threshold decide the comparison?"""

from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.lcr.figures._common import curve, lookup_of
from palimpsest.lcr.names import name_of
from palimpsest.report.style import COLUMN, PALETTE


def draw(inputs: list[Path], params: dict) -> Figure:
    """One panel per model: detection at every threshold for params["rules"] and the plain reconstruction."""
    lookup, models = lookup_of(inputs), params["models"]
    figure, panels = plt.subplots(
        len(models), 1, figsize=(COLUMN, 1.7 * len(models) + 0.5), sharex=True, sharey=True, squeeze=False
    )
    for axes, model in zip(panels[:, 0], models, strict=True):
        here = lookup.of(model=model, set=params["set"])
        curve(
            axes,
            here.rows("detection_rate_at", method="reconstruction"),
            "threshold",
            color="black",
            label="plain reconstruction",
        )
        for colour, rule in zip(PALETTE, params["rules"], strict=False):
            rows = here.rows("detection_rate_at", method=rule, scope="mask", cells="all", top="")
            curve(axes, rows, "threshold", color=colour, label=name_of(rule))
        axes.set(title=name_of(model), ylabel="concept found")
        axes.set_ylim(0, 1.02)
    panels[-1, 0].set_xlabel("threshold of the held-out detector’s score")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
