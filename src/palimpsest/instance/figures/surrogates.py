"""Surrogates, and what forgetting with them does (the paper's figures 9 and 11)."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.instance.figures._common import grid, named, pictures
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE

MEASUREMENTS = ("strength", "kind")
INPUTS = (
    "<results>/instance/targets/images.npy",
    "<results>/instance/targets/manifest.parquet",
    "<results>/instance/{first_model}/strength/unpromptable/panel.npz",
    "<results>/instance/{first_model}/kind/unpromptable/panel.npz",
    "<results>/instance/{first_model}/surrogates/{surrogate}.npy",
)
PARAMS = {"models": None, "surrogates": None, "studies": ["strength"], "draws": 5, "samples": 6, "explicit_sets": None}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """params: `surrogates` (the rows), `draws`, `samples`; the target is the first of the study of strength.

    inputs: the targets' images and manifest, the panels of the studies, then the surrogates' files.
    """
    model = params["models"][0]
    images, names = np.load(inputs[0]), list(pd.read_parquet(inputs[1])["target"])
    panels = [path for path in inputs[2:] if path.suffix == ".npz"]
    files = {path.stem: path for path in inputs[2:] if path.suffix == ".npy"}
    target, draws, samples = params["studies"]["strength"]["targets"][0][0], params["draws"], params["samples"]
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
        found = lookup.rows(
            "similarity_target", model=model, method="unpromptable", surrogate=surrogate, targets=target
        )
        found = found[found["study"].isin(["strength", "kind"])]
        named(line[0], surrogate, found["value"].mean())
    return figure
