"""Ridge regression, the one model in which removing or replacing a training row has a closed form.

The paper (Lee et al., arXiv 2603.10445) argues from it that a surrogate moves a model less than exact removal does.
Here the closed forms are held against direct solves, and the argument against random points. It is about parameters
only: the surrogate that moves least is no edit at all, which forgets nothing; and where a row is fitted well, removing
it moves nearly nothing and the surrogate loses.

X: (rows, columns), y: (rows,), penalty: positive; all float64, no intercept. row: the index of the row in question.
A = X'X + penalty I; x, y: its input and label; theta: the fit to all rows; r = y - x'theta; h = x'A^-1 x, the leverage.
"""

import numpy as np
import pandas as pd

from palimpsest.metrics.measurements import row as measurement
from palimpsest.metrics.measurements import share_of, write
from palimpsest.options import Count, Positive, Size
from palimpsest.run import Output, UserError, step

LARGEST = (40, 8)  # rows and columns of the random problems of the closed forms
CURVE_ROWS = 30
EXAMPLE_ROWS = 7
KINDS = {"general": True, "label": False}  # a surrogate has a new label; has it a new input too?


def inverse_times(X: np.ndarray, penalty: float, vector: np.ndarray) -> np.ndarray:
    """A^-1 vector, (columns,)."""
    return np.linalg.solve(X.T @ X + penalty * np.eye(X.shape[1]), vector)


def fit(X: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """The theta (columns,) that minimises ||X theta - y||^2 + penalty ||theta||^2 (eqs. 14 to 16)."""
    return inverse_times(X, penalty, X.T @ y)


def leverage(X: np.ndarray, penalty: float, row: int) -> float:
    """h, at least 0 and less than 1: how far the fit at the row's input follows the row's label."""
    return float(X[row] @ inverse_times(X, penalty, X[row]))


def left_out_residual(X: np.ndarray, y: np.ndarray, penalty: float, row: int) -> float:
    """r / (1 - h), the row's residual under the fit without the row (Golub, Heath and Wahba 1979)."""
    return float((y[row] - X[row] @ fit(X, y, penalty)) / (1 - leverage(X, penalty, row)))


def removed(X: np.ndarray, y: np.ndarray, penalty: float, row: int) -> np.ndarray:
    """The fit (columns,) without the row: theta - r / (1 - h) A^-1 x (theorem 1)."""
    return fit(X, y, penalty) - left_out_residual(X, y, penalty, row) * inverse_times(X, penalty, X[row])


def replaced(X: np.ndarray, y: np.ndarray, penalty: float, row: int, new_x: np.ndarray, new_y: float) -> np.ndarray:
    """The fit (columns,) with (new_x, new_y) in the row's place, new_x: (columns,) (theorem 2).

    theta + B^-1 [new_x (new_y - new_x'theta) - x (y - x'theta)], where B is A of the changed inputs.
    """
    theta = fit(X, y, penalty)
    change = new_x * (new_y - new_x @ theta) - X[row] * (y[row] - X[row] @ theta)
    changed, _ = with_row(X, y, row, new_x, new_y)
    return theta + inverse_times(changed, penalty, change)


def relabelled(X: np.ndarray, y: np.ndarray, penalty: float, row: int, new_y: float) -> np.ndarray:
    """The fit (columns,) with new_y as the row's label: theta + (new_y - y) A^-1 x (theorem 2 with new_x = x)."""
    return fit(X, y, penalty) + (new_y - y[row]) * inverse_times(X, penalty, X[row])


def relabelled_is_closer(X: np.ndarray, y: np.ndarray, penalty: float, row: int, new_y: float) -> bool:
    """Whether a new label moves theta less than removal: if and only if |new_y - y| < |r| / (1 - h) (corollary 3).

    Both move theta along A^-1 x, so the prediction at x moves in the same ratio: what stays nearer also forgets less.
    """
    return bool(abs(new_y - y[row]) < abs(left_out_residual(X, y, penalty, row)))


def with_row(X: np.ndarray, y: np.ndarray, row: int, new_x: np.ndarray, new_y: float) -> tuple[np.ndarray, np.ndarray]:
    """Copies of X and y with (new_x, new_y) in the row's place."""
    X, y = X.copy(), y.copy()
    X[row], y[row] = new_x, new_y
    return X, y


def without_row(X: np.ndarray, y: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
    """X and y less the row."""
    return np.delete(X, row, 0), np.delete(y, row)


def random_problem(rng: np.random.Generator, rows: int, columns: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal X, and the labels of a standard normal theta with normal noise (standard deviation noise)."""
    X = rng.normal(size=(rows, columns))
    return X, X @ rng.normal(size=columns) + noise * rng.normal(size=rows)


def check_closed_forms(rng: np.random.Generator, penalty: float, noise: float) -> dict[str, float]:
    """On one problem of random size, the largest error of each closed form against solving the changed problem.

    corollary_3_agreement: whether the condition foretells the outcome, for a label drawn up to twice its bound away.
    """
    rows, columns = rng.integers(5, LARGEST[0] + 1), rng.integers(1, LARGEST[1] + 1)
    X, y = random_problem(rng, rows, columns, noise)
    row = int(rng.integers(rows))
    theta, remaining = fit(X, y, penalty), fit(*without_row(X, y, row), penalty)
    new_x, new_y = X[row] + rng.normal(size=columns), y[row] + rng.normal()
    replacing = fit(*with_row(X, y, row, new_x, new_y), penalty)
    label = y[row] + rng.uniform(-2, 2) * left_out_residual(X, y, penalty, row)
    labelling = fit(*with_row(X, y, row, X[row], label), penalty)
    closer = np.linalg.norm(labelling - theta) < np.linalg.norm(remaining - theta)
    return {
        "theorem_1_error": np.abs(removed(X, y, penalty, row) - remaining).max(),
        "theorem_2_error": np.abs(replaced(X, y, penalty, row, new_x, new_y) - replacing).max(),
        "corollary_3_error": np.abs(relabelled(X, y, penalty, row, label) - labelling).max(),
        "corollary_3_agreement": relabelled_is_closer(X, y, penalty, row, label) == closer,
    }


def compare_with_removal(
    rng: np.random.Generator, edits: list[float], penalty: float, noise: float
) -> tuple[np.ndarray, float]:
    """Whether a surrogate of each edit size moves theta less than removal (kinds, edits), and |r| / (1 - h).

    One random row of a one-dimensional problem; direct solves. The edit of x and y is one normal draw times the size.
    """
    X, y = random_problem(rng, CURVE_ROWS, 1, noise)
    row = int(rng.integers(CURVE_ROWS))
    edit_x, edit_y = rng.normal(size=2)
    theta = fit(X, y, penalty)

    def moved(X: np.ndarray, y: np.ndarray) -> float:
        return float(np.linalg.norm(fit(X, y, penalty) - theta))

    by_removal = moved(*without_row(X, y, row))
    by_surrogate = [
        [moved(*with_row(X, y, row, X[row] + both * size * edit_x, y[row] + size * edit_y)) for size in edits]
        for both in KINDS.values()
    ]
    return np.array(by_surrogate) < by_removal, abs(left_out_residual(X, y, penalty, row))


def example(rng: np.random.Generator, penalty: float, noise: float) -> pd.DataFrame:
    """The points and lines (series, x, y) of one problem, as in the paper's figure 4. An illustration, not evidence.

    Chosen to be seen: a few inputs, evenly spaced from -1 to 1, labels x / 2 with noise, and the point removed whose
    removal moves the line most. Its surrogate, with the same input and a label half-way to the original line, always
    wins (corollary 3).
    """
    X = np.linspace(-1, 1, EXAMPLE_ROWS)[:, None]
    y = X[:, 0] / 2 + noise * rng.normal(size=EXAMPLE_ROWS)
    theta = fit(X, y, penalty)
    row = int(np.argmax([np.abs(removed(X, y, penalty, index) - theta) for index in range(EXAMPLE_ROWS)]))
    label = float(y[row] + X[row] @ theta) / 2
    slopes = {
        "original fit": theta,
        "after removal": removed(X, y, penalty, row),
        "after replacement": replaced(X, y, penalty, row, X[row], label),
    }
    kept, labels = without_row(X, y, row)
    points = [("data", x, value) for x, value in zip(kept[:, 0], labels, strict=True)]
    points += [("removed point", X[row, 0], y[row]), ("surrogate", X[row, 0], label)]
    lines = [(name, x, x * slope[0]) for name, slope in slopes.items() for x in (-1.0, 1.0)]
    return pd.DataFrame(points + lines, columns=["series", "x", "y"])


def ridge(
    curves: Output,
    measurements: Output,
    *,
    problems: Positive,
    points: Positive,
    penalty: float,
    noise: Size,
    edits: list[float],
    seed: Count = 0,
) -> None:
    """Check the closed forms on random problems, and measure how often a surrogate stays nearer than exact removal.

    edits: sizes of the surrogate's edit, in standard deviations of the inputs. Beside the share that stays nearer stand
    its limits: the share for no edit at all (closer_without_edit, which forgets nothing), and the share of points
    fitted so well that removal moves less than a new label exactly one edit size away (removal_moves_less).
    curves: what the figure draws (panel, series, x, y, low, high). A UserError says which argument is out of range.
    """
    if min(problems, points) < 1 or penalty <= 0 or noise < 0 or min(edits) <= 0:
        raise UserError(
            f"problems {problems}, points {points}, penalty {penalty}, noise {noise}, edits {edits}: give at least one "
            "problem and point, a penalty and edits above 0, and a noise of at least 0"
        )
    checks_rng, points_rng, example_rng = (np.random.default_rng([seed, part]) for part in range(3))
    checks = pd.DataFrame([check_closed_forms(checks_rng, penalty, noise) for _ in range(problems)])
    # No edit is one more size, so that it is measured like the others.
    compared = [compare_with_removal(points_rng, [*edits, 0.0], penalty, noise) for _ in range(points)]
    closer, residuals = (np.stack(part) for part in zip(*compared, strict=True))

    rows = [measurement(metric, checks[metric].max(), n=problems) for metric in checks if metric.endswith("_error")]
    rows.append(share_of("corollary_3_agreement", checks["corollary_3_agreement"].to_numpy()))
    win_rates = [
        share_of("closer_than_removal", closer[:, k, e], edit=f"{edit:g}", kind=kind)
        for k, kind in enumerate(KINDS)
        for e, edit in enumerate(edits)
    ]
    rows += [*win_rates, share_of("closer_without_edit", closer[:, 0, -1])]
    rows += [share_of("removal_moves_less", residuals < edit, edit=f"{edit:g}") for edit in edits]
    write(measurements, rows, family="instance", method="ridge", seed=seed)
    drawn = pd.DataFrame(win_rates).rename(columns={"kind": "series", "edit": "x", "value": "y"}).astype({"x": float})
    panels = [example(example_rng, penalty, noise).assign(panel="example"), drawn.assign(panel="win rate")]
    pd.concat(panels)[["panel", "series", "x", "y", "low", "high"]].to_parquet(curves, index=False)


if __name__ == "__main__":
    step(ridge)
