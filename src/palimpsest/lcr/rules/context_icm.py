"""Every cell becomes the safe code its neighbours make likeliest, until nothing changes or `sweeps` are over.

Iterated conditional modes (Besag 1986): c = argmax over safe codes of the sum of log P(c | neighbour) over the four
neighbours, from the co-occurrence counts of safe pictures; started from `border_fill`, swept like a chessboard.
"""

import numpy as np

from palimpsest.lcr.context import Context
from palimpsest.lcr.rules import border_fill


def replace(
    codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator, sweeps: int = 6, prior=0.1
):
    # given[j, c]: log P(c | j lies to the left), and so on for the other three sides.
    given = {
        (0, -1): _log_conditional(context.horizontal, prior),
        (0, 1): _log_conditional(context.horizontal.T, prior),
        (-1, 0): _log_conditional(context.vertical, prior),
        (1, 0): _log_conditional(context.vertical.T, prior),
    }
    result = border_fill.replace(codes, cells, context, rng)
    image, row, column = np.nonzero(cells)
    height, width = codes.shape[1:]
    unchanged = 0
    for sweep in range(2 * sweeps):
        mine = (row + column) % 2 == sweep % 2
        where = image[mine], row[mine], column[mine]
        score = np.zeros((int(mine.sum()), len(context.safe)), np.float32)
        for (down, right), table in given.items():
            at_row, at_column = where[1] + down, where[2] + right
            on_grid = (at_row >= 0) & (at_row < height) & (at_column >= 0) & (at_column < width)
            neighbour = result[where[0][on_grid], at_row[on_grid], at_column[on_grid]]
            score[on_grid] += table[neighbour][:, context.safe]
        best = context.safe[score.argmax(1)]
        unchanged = unchanged + 1 if (result[where] == best).all() else 0
        result[where] = best
        if unchanged == 2:  # both colours of the chessboard
            break
    return result


def _log_conditional(counts: np.ndarray, prior: float) -> np.ndarray:
    """log P(column code | row code), each row smoothed towards the columns' overall share."""
    overall = (counts.sum(0) + 1e-3) / (counts.sum() + 1e-3 * len(counts))
    mass = prior * max(counts.sum() / len(counts), 1.0)
    return np.log((counts + mass * overall) / (counts.sum(1, keepdims=True) + mass)).astype(np.float32)
