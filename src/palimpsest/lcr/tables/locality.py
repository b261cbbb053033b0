"""How far a replaced block of codes reaches, for the real decoder and for decoders without their global parts."""

import pandas as pd

from palimpsest.lcr.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table, number

MEASUREMENTS = ("locality",)
PARAMS = {"models": None, "blocks": [1, 3]}

SHARE, BEYOND = Format(1, "percent"), "pixels_beyond_receptive_field"

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
        reach = {
            f"{number(lookup.rows(BEYOND, model=model, block=block)['value'].mean(), SHARE)} %": name_of(model)
            for model in params["models"]
        }
        named = "; ".join(reach) if len(reach) == 1 else "; ".join(f"{name} {share}" for share, name in reach.items())
        called_block = f"Block of {block} × {block} cells; pixels beyond: {named}"
        for decoder, called in DECODERS.items():
            cells = [
                lookup.get(metric, model=model, decoder=decoder, block=block, **labels)
                for model in params["models"]
                for metric, labels in COLUMNS.values()
            ]
            rows.append((called_block, called, *cells))
    names = [(name_of(model), column) for model in params["models"] for column in COLUMNS]
    return Table(
        pd.DataFrame(rows, columns=pd.MultiIndex.from_tuples([("", "block"), ("", "Decoder"), *names])),
        caption="Locality of the decoder. Half energy: distance from the block, in cells, within which half of the "
        "squared change of the pixels lies; then the shares of it inside the block, within one cell of it, and "
        "beyond the convolutions’ receptive field, where only attention and group normalisation reach. A change "
        "spread evenly would have there the share of the pixels, which each block’s heading gives.",
        label="tab:lcr-locality",
        formats={
            "Half energy": Format(2, interval=False),
            "In block": Format(0, "percent", interval=False),
            "Within 1": Format(0, "percent", interval=False),
            "Beyond": SHARE,
        },
        group="block",
        wide=True,
    )
