"""Count the codes of an image set, inside and outside the concept's masks."""

import numpy as np
import pandas as pd

from palimpsest.lcr.arrays import load_codes, load_masks, same_network
from palimpsest.lcr.codes import count_codes, document_frequency
from palimpsest.options import Positive
from palimpsest.run import Input, Output, step


def count(codes: Input, masks: Input, counts: Output, *, codebook_size: Positive) -> dict:
    """Write one row per code: cells (all, inside, outside) and images (anywhere, inside, outside) it occurs in."""
    origin = same_network(codes, masks)
    grid = load_codes(codes, codebook_size)
    cells = load_masks(masks, grid.shape)
    everywhere = count_codes(grid, codebook_size)
    inside = count_codes(grid, codebook_size, cells)
    table = pd.DataFrame(
        {
            "code": np.arange(codebook_size),
            "all": everywhere,
            "inside": inside,
            "outside": everywhere - inside,
            "images": document_frequency(grid, codebook_size),
            "images_inside": document_frequency(grid, codebook_size, cells),
            "images_outside": document_frequency(grid, codebook_size, ~cells),
        }
    )
    table.to_parquet(counts, index=False)
    return {"images": len(grid), "live": int((everywhere > 0).sum()), "cells_inside": int(inside.sum()), **origin}


if __name__ == "__main__":
    step(count)
