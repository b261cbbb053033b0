"""What every method makes of a target and of same-seed samples (the paper's figures 6 and 7)."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.instance.figures._common import grid, named, pictures
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import PAGE

INPUTS = (
    "<results>/instance/targets/images.npy",
    "<results>/instance/targets/manifest.parquet",
    "<results>/instance/{first_model}/networks/pretrained/panel.npz",
    "<results>/instance/{first_model}/networks/oracle/panel.npz",
    "<results>/instance/{first_model}/comparison/{method}/panel.npz",
)
MEASUREMENTS = ("comparison", "networks")
PARAMS = {"models": None, "methods": None, "studies": ["comparison"], "draws": 6, "samples": 8, "explicit_sets": None}


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """params: `draws`, `samples`, `methods`; the target is the first of the comparison.

    inputs: the targets' images and manifest, then the panels of pretrained, oracle and every method, in their order.
    """
    images, names = np.load(inputs[0]), list(pd.read_parquet(inputs[1])["target"])
    target, draws, samples = params["studies"]["comparison"]["targets"][0][0], params["draws"], params["samples"]
    explicit = bool(params["explicit_sets"])
    rows = ["pretrained", "oracle", *params["methods"]]
    figure = plt.figure(figsize=(PAGE, 0.45 * len(rows) + 0.5))
    axes = grid(figure, rows, ["target", "its reconstructions", "same-seed samples"], [1, draws, samples])
    for line, method, path in zip(axes, rows, inputs[2:], strict=True):
        labels = {"model": params["models"][0], "study": "comparison", "targets": target}
        named(line[0], method, lookup.get("similarity_target", method=method, **labels).value)
        with np.load(path) as panel:
            folders = [name.removesuffix(".rebuilt") for name in panel.files if name.endswith(".rebuilt")]
            # Of several seeds of training the first is shown.
            folder = next(
                name for name in folders if name == target or name.startswith(f"{target}.") or first_stage(name, target)
            )
            pictures(line[0], images[[names.index(target)]], explicit)
            pictures(line[1], panel[f"{folder}.rebuilt"][0][:draws], explicit)
            pictures(line[2], panel[f"{folder}.samples"][:samples], explicit)
    return figure


def first_stage(folder: str, target: str) -> bool:
    """Whether a folder holds the model that forgot the target, and it alone."""
    return folder.startswith(f"{target}+") and folder.endswith("-1")
