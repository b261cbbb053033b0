"""How far a replaced block of codes reaches, for the real decoder and for decoders without their global parts."""

import pandas as pd

from palimpsest.lcr.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

DECODERS = {
    "real": "real",
    "no_attention": "attention off",
    "frozen_norm": "norm frozen",
    "local": "both: convolutions only",
}
COLUMNS = {
    "Half energy": ("half_energy_radius", {"unit": "cells"}),
    "In block": ("energy_within_block", {}),
    "Within 1": ("energy_within_one_cell", {}),
    "Beyond": ("energy_beyond_receptive_field", {}),
}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: decoders by size of the block, params["blocks"]; columns for every model."""
    rows = []
    for block in params["blocks"]:
        for decoder, called in DECODERS.items():
            cells = [
                lookup.get(metric, model=model, decoder=decoder, block=block, **labels)
                for model in params["models"]
                for metric, labels in COLUMNS.values()
            ]
            rows.append((f"Block of {block} × {block} cells", called, *cells))
    names = [(name_of(model), column) for model in params["models"] for column in COLUMNS]
    return Table(
        pd.DataFrame(rows, columns=pd.MultiIndex.from_tuples([("", "block"), ("", "Decoder"), *names])),
        caption="Locality of the decoder. Half energy: distance from the block, in cells, within which half of the "
        "squared change of the pixels lies; then the shares of it inside the block, within one cell of it, and beyond "
        "the convolutions’ receptive field, where only attention and group normalisation reach.",
        label="tab:lcr-locality",
        formats={
            "Half energy": Format(2, interval=False),
            "In block": Format(0, "percent", interval=False),
            "Within 1": Format(0, "percent", interval=False),
            "Beyond": Format(1, "percent"),
        },
        group="block",
        wide=True,
    )
