"""Every cell becomes the safe code its neighbours make likeliest, until nothing changes or `sweeps` are over.

Iterated conditional modes (Besag 1986): c = argmax over safe codes of the sum of log P(c | neighbour) over the four
neighbours, from the co-occurrence counts of safe pictures; started from `border_fill`, swept like a chessboard.
"""

import numpy as np

from palimpsest.lcr.context import Context
from palimpsest.lcr.rules import border_fill

PICTURES = 16  # at a time: a cell has a score for each safe code


def replace(
    codes: np.ndarray, cells: np.ndarray, context: Context, rng: np.random.Generator, sweeps: int = 6, prior=0.1
):
    # given[j, c]: log P(c | j lies to the left), and so on for the other three sides; c: of the safe codes.
    given = {}
    for side in ((0, 1), (1, 0)):
        table = context.pairs(side)
        given[-side[0], -side[1]] = log_conditional(table, context.safe, prior)
        given[side] = log_conditional(table.T, context.safe, prior)
    result = border_fill.replace(codes, cells, context, rng)
    for start in range(0, len(codes), PICTURES):
        part = slice(start, start + PICTURES)
        settle(result[part], cells[part], given, context.safe, sweeps)
    return result


def settle(codes: np.ndarray, cells: np.ndarray, given: dict, safe: np.ndarray, sweeps: int) -> None:
    """Sweep over the cells of a few pictures, in place."""
    image, row, column = np.nonzero(cells)
    height, width = codes.shape[1:]
    unchanged = 0
    for sweep in range(2 * sweeps):
        mine = (row + column) % 2 == sweep % 2
        where = image[mine], row[mine], column[mine]
        score = np.zeros((int(mine.sum()), len(safe)), np.float32)
        for (down, right), table in given.items():
            at_row, at_column = where[1] + down, where[2] + right
            on_grid = (at_row >= 0) & (at_row < height) & (at_column >= 0) & (at_column < width)
            score[on_grid] += table[codes[where[0][on_grid], at_row[on_grid], at_column[on_grid]]]
        best = safe[score.argmax(1)]
        unchanged = unchanged + 1 if (codes[where] == best).all() else 0
        codes[where] = best
        if unchanged == 2:  # both colours of the chessboard
            break


def log_conditional(counts: np.ndarray, safe: np.ndarray, prior: float) -> np.ndarray:
    """log P(safe code | row code) (K, safe), each row smoothed towards the columns' overall share."""
    overall = (counts.sum(0)[safe] + 1e-3) / (counts.sum() + 1e-3 * len(counts))
    mass = prior * max(counts.sum() / len(counts), 1.0)
    shares = counts[:, safe].astype(np.float32)
    shares += (mass * overall).astype(np.float32)
    shares /= (counts.sum(1, keepdims=True) + mass).astype(np.float32)
    return np.log(shares, out=shares)
