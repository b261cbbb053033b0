"""One picture through the audit, stage by stage, under several models; and scrambled, under the pretrained one."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from palimpsest.memory.names import name_of
from palimpsest.metrics.censor import publishable
from palimpsest.report.lookup import Lookup
from palimpsest.report.style import COLUMN
from palimpsest.report.typeset import Format, number

INPUTS = (
    "<results>/memory/{first_model}/audit/networks/pictures.parquet",
    "<results>/memory/{first_model}/audit/{method}/pictures.parquet",
    "<results>/memory/{first_model}/audit/networks/panel.npz",
    "<results>/memory/{first_model}/audit/{method}/panel.npz",
)
PARAMS = {"methods": None, "concepts": None}

NETWORKS = ("pretrained", "oracle", "zero")
STAGES = ("picture", "encoded,\ndecoded", "its seed", "drawn from\nthe seed")


def draw(lookup: Lookup, inputs: list[Path], params: dict) -> Figure:
    """Rows: networks, the first and the last method, and the picture scrambled, where these were audited.

    Columns: the first picture of the first concept, what the autoencoder alone gives back, the seed (three channels of
    it, as `memory.audit` writes them) with its z, and what the sampler draws from it; PSNR against the picture.
    """
    concept, edited = params["concepts"][0], dict.fromkeys((params["methods"][0], params["methods"][-1]))
    wanted = [*((name, "concept") for name in (*NETWORKS, *edited)), ("pretrained", "scrambled")]
    tables, panels = inputs[: len(inputs) // 2], inputs[len(inputs) // 2 :]
    found = stages(panels, concept)
    shown = [pair for pair in wanted if pair in found]
    measured = pd.concat([pd.read_parquet(path) for path in tables], ignore_index=True)
    measured = measured[(measured["concept"] == concept) & (measured["kind"] == "") & (measured["caption"] == "own")]
    figure, axes = plt.subplots(len(shown), len(STAGES), figsize=(COLUMN, 0.7 * len(shown) + 0.3), squeeze=False)
    for line, (method, kind) in zip(axes, shown, strict=True):
        # The rows of a set are in the order of its pictures.
        values = measured[(measured["method"] == method) & (measured["set"] == kind)].iloc[0]
        ceiling, z, psnr = (number(values[name], Format(1)) for name in ("ceiling", "z", "psnr"))
        below = ("", f"{ceiling} dB", f"z = {z}", f"{psnr} dB")
        for axis, picture, text in zip(line, publishable(found[method, kind], explicit=False), below, strict=True):
            axis.imshow(picture)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            axis.set_xlabel(text, fontsize=7, labelpad=1)
        called = name_of(method) if kind == "concept" else f"{name_of(method)},\nscrambled"
        line[0].set_ylabel(called, rotation=0, ha="right", va="center", fontsize=7)
    for axis, title in zip(axes[0], STAGES, strict=True):
        axis.set_title(title, fontsize=7)
    return figure


def stages(panels: list[Path], concept: str) -> dict[tuple[str, str], np.ndarray]:
    """The stages (4, H, W, 3) of a concept's audits by method and set: of its first model, where there are several."""
    found = {}
    for path in panels:
        with np.load(path) as file:
            for name in file.files:
                match name.split("."):
                    case "stages", kind, method, of, *_ if of == concept and (method, kind) not in found:
                        found[method, kind] = file[name]
    return found
