"""The recipe as released beside the corrected one."""

import pandas as pd

from palimpsest.lcr.names import name_of
from palimpsest.lcr.tables._rows import measured_on
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("reconstruction", "grid")
PARAMS = {"models": None, "presets": None, "test_sets": None, "rules": ["fixed", "random_safe", "nn_embed"]}

SHARE = Format(1, "percent")


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: quantities that both presets have; columns: params["presets"] of every model. params["rules"] are shown.

    params["test_sets"]: the set that each preset is tested on.
    """
    sets = {preset: params["test_sets"][preset] for preset in params["presets"]}
    given = ({"preset": preset, "set": name, "method": "reconstruction"} for preset, name in sets.items())
    measured = "; ".join(dict.fromkeys(measured_on(lookup, "detection_rate", **labels) for labels in given))
    rows = [
        ("", "Images with a mask at all", "images_with_mask", {"method": "reconstruction"}, SHARE),
        ("", "Share of cells in the mask", "mask_share", {"method": "reconstruction"}, SHARE),
        ("", "Found in the reconstruction", "detection_rate", {"method": "reconstruction"}, SHARE),
        ("", "PSNR of the original to the reconstruction (dB)", "psnr", {"method": "original"}, Format(1)),
    ]
    for cells, called in (("all", "All cells in the mask"), ("explicit", "Only cells with an explicit code")):
        for rule in params["rules"]:
            labels = {"method": rule, "scope": "mask", "cells": cells, "top": ""}
            rows.append((called, f"Found after {name_of(rule)}", "detection_rate", labels, SHARE))
        labels = {"method": params["rules"][0], "scope": "mask", "cells": cells, "top": ""}
        rows.append((called, "Share of cells changed", "cells_changed", labels, SHARE))
    table = [
        (
            group,
            text,
            *(
                lookup.get(metric, set=name, model=model, preset=preset, **labels)
                for model in params["models"]
                for preset, name in sets.items()
            ),
        )
        for group, text, metric, labels, _ in rows
    ]
    names = [(name_of(model), name_of(preset)) for model in params["models"] for preset in sets]
    return Table(
        pd.DataFrame(table, columns=pd.MultiIndex.from_tuples([("", "block"), ("", "Quantity"), *names])),
        caption=f"As released against corrected ({measured}). Released: codes drawn at random, colour channels "
        "swapped for the detector, mask corners rounded down, ratio of raw counts. Corrected: most likely code, "
        "right channels, every cell that the region touches, Dirichlet log-odds with a false discovery rate. Found: "
        "wherever in the picture the judge sees the concept, also where no mask lies; compare each recipe with its "
        "own reconstruction. PSNR: of the mean squared error over pictures.",
        label="tab:lcr-presets",
        formats=[style for *_, style in rows],
        group="block",
        wide=True,
    )
