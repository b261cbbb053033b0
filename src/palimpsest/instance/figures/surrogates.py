"""Surrogates, and what forgetting with them does (the paper's figures 9 and 11)."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.instance.figures._common import grid, lookup_of, pictures
from palimpsest.instance.names import name_of
from palimpsest.report.style import PAGE


def draw(inputs: list[Path], params: dict) -> Figure:
    """params: `target`, `surrogates` (the rows), `draws`, `samples`.

    inputs: the measurements, the targets' images and manifest, the panels of the studies, then the surrogates' files.
    """
    lookup, model = lookup_of(inputs), params["models"][0]
    images, names = np.load(inputs[1]), list(pd.read_parquet(inputs[2])["target"])
    panels = [path for path in inputs[3:] if path.suffix == ".npz"]
    files = {path.stem: path for path in inputs[3:] if path.suffix == ".npy"}
    target, draws, samples = params["target"], params["draws"], params["samples"]
    explicit, index = bool(params["explicit_sets"]), names.index(target)
    rows = params["surrogates"]
    figure = plt.figure(figsize=(PAGE, 0.52 * len(rows) + 0.5))
    axes = grid(figure, rows, ["target", "surrogate", "reconstructions", "same-seed samples"], [1, 1, draws, samples])
    for line, surrogate in zip(axes, rows, strict=True):
        pictures(line[0], images[[index]], explicit)
        pictures(line[1], np.load(files[surrogate])[[index]], explicit)
        for path in panels:
            with np.load(path) as panel:
                for name in panel.files:
                    if name.startswith(f"{target}.{surrogate}.default."):
                        column, count = (2, draws) if name.endswith(".rebuilt") else (3, samples)
                        shown = panel[name][0] if name.endswith(".rebuilt") else panel[name]
                        pictures(line[column], shown[:count], explicit)
        found = lookup.rows("similarity_target", model=model, method="surrogate", surrogate=surrogate, targets=target)
        found = found[found["study"].isin(["strength", "kind"])]
        value = found["value"].mean()
        line[0].set_ylabel(
            f"{name_of(surrogate)}\nS = {value:.2f}".replace("-", "−"), rotation=0, ha="right", va="center"
        )
    return figure
