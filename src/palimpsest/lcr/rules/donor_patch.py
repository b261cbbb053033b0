"""The region is filled from the safe grid whose surroundings fit best: exemplar inpainting in code space.

Every grid of the bank is tried at every shift of up to `reach` cells; the fit is the squared codebook distance over the
ring of cells around the region (the idea of PatchMatch, Barnes et al. 2009, searched exhaustively).
"""

import numpy as np

from palimpsest.lcr.cells import dilate
from palimpsest.lcr.context import Context, squared_distances


def replace(codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator, reach: int = 2):
    result = codes.copy()
    rings = dilate(cells, 1) & ~cells
    for index in np.flatnonzero(rings.any((1, 2))):
        ring, inside = np.nonzero(rings[index]), np.nonzero(cells[index])
        wanted = squared_distances(context.codebook[codes[index][ring]], context.codebook)  # (ring cells, K)
        best, filling = np.inf, None
        for down, right in shifts_within(ring, inside, codes.shape[1:], reach):
            donor = context.bank[:, ring[0] + down, ring[1] + right].astype(np.int64)
            misfit = wanted[np.arange(len(ring[0])), donor].sum(1)
            choice = int(misfit.argmin())
            if misfit[choice] < best:
                best = misfit[choice]
                filling = context.bank[choice, inside[0] + down, inside[1] + right]
        if filling is not None:
            result[index][inside] = filling
    return result


def shifts_within(ring, inside, grid: tuple[int, int], reach: int):
    """Shifts (down, right) of up to `reach` cells that keep the region and its ring on the grid."""
    rows, columns = (np.concatenate([ring[axis], inside[axis]]) for axis in (0, 1))
    for down in range(max(-reach, -rows.min()), min(reach, grid[0] - 1 - rows.max()) + 1):
        for right in range(max(-reach, -columns.min()), min(reach, grid[1] - 1 - columns.max()) + 1):
            yield down, right
