"""Ridge regression: the closed forms against least squares, the condition, the win rate, repeatability, the figure."""

import itertools

import numpy as np
import pandas as pd
import pytest

from palimpsest import run
from palimpsest.instance import ridge
from palimpsest.metrics import measurements
from palimpsest.report import figures, style
from palimpsest.report.parts import part_of

PENALTY = 0.1
EDITS = [0.001, 0.1, 1.0, 30.0]
SIZES = [(5, 8), (6, 1), (12, 3), (40, 8)]  # rows and columns; the first has more columns than rows


def problems(penalty: float = PENALTY):
    """(X, y, theta, rng) of problems of several sizes, theta from least squares."""
    for seed in range(15):
        for rows, columns in SIZES:
            rng = np.random.default_rng([seed, rows])
            X, y = ridge.random_problem(rng, rows, columns, noise=0.3)
            yield X, y, least_squares(X, y, penalty), rng


def least_squares(X, y, penalty):
    """Ridge regression as ordinary least squares: the penalty is one more row per column, with label 0."""
    columns = X.shape[1]
    return np.linalg.lstsq(np.vstack([X, np.sqrt(penalty) * np.eye(columns)]), np.append(y, np.zeros(columns)))[0]


def without(X, y, row):
    kept = [index for index in range(len(y)) if index != row]
    return X[kept], y[kept]


def with_new(X, y, row, new_x, new_y):
    inputs = [new_x if index == row else X[index] for index in range(len(y))]
    return np.array(inputs), np.array([new_y if index == row else y[index] for index in range(len(y))])


def run_step(folder, **changed) -> tuple[pd.DataFrame, pd.DataFrame]:
    values = {"problems": 30, "points": 400, "penalty": PENALTY, "noise": 0.3, "edits": EDITS, **changed}
    ridge.ridge(folder / "curves.parquet", folder / "measurements.parquet", **values)
    return measurements.read([folder / "measurements.parquet"]), pd.read_parquet(folder / "curves.parquet")


# Closed forms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [0.01, 0.1, 10.0])
def test_the_fit_is_least_squares_with_a_penalty(penalty):
    for X, y, theta, rng in problems(penalty):
        assert ridge.fit(X, y, penalty) == pytest.approx(theta, abs=1e-10)
        other = theta + 0.01 * rng.normal(size=theta.shape)
        loss, worse = (((X @ one - y) ** 2).sum() + penalty * (one**2).sum() for one in (theta, other))
        assert loss < worse


def test_removal_is_the_fit_to_the_other_rows():
    for X, y, _, _ in problems():
        for row in range(len(y)):
            direct = least_squares(*without(X, y, row), PENALTY)
            assert ridge.removed(X, y, PENALTY, row) == pytest.approx(direct, abs=1e-10)


def test_replacement_is_the_fit_to_the_changed_rows():
    for X, y, _, rng in problems():
        for row in range(len(y)):
            new_x, new_y = rng.normal(size=X.shape[1]), rng.normal()
            direct = least_squares(*with_new(X, y, row, new_x, new_y), PENALTY)
            assert ridge.replaced(X, y, PENALTY, row, new_x, new_y) == pytest.approx(direct, abs=1e-10)
            direct = least_squares(*with_new(X, y, row, X[row], new_y), PENALTY)
            assert ridge.relabelled(X, y, PENALTY, row, new_y) == pytest.approx(direct, abs=1e-10)


def test_the_arguments_are_left_as_they_were():
    X, y = ridge.random_problem(np.random.default_rng(0), 6, 2, 0.3)
    inputs, labels = X.copy(), y.copy()
    ridge.removed(X, y, PENALTY, 1)
    ridge.replaced(X, y, PENALTY, 1, np.ones(2), 3.0)
    assert (inputs == X).all() and (labels == y).all()


def test_leverage_is_the_weight_of_a_label_in_its_own_prediction():
    for X, y, theta, _ in problems():
        found = np.array([ridge.leverage(X, PENALTY, row) for row in range(len(y))])
        assert ((found >= 0) & (found < 1)).all()
        singular = np.linalg.svd(X, compute_uv=False) ** 2
        assert found.sum() == pytest.approx((singular / (singular + PENALTY)).sum())
        raised = least_squares(*with_new(X, y, 2, X[2], y[2] + 1), PENALTY)
        assert X[2] @ (raised - theta) == pytest.approx(found[2])


def test_the_left_out_residual_is_that_of_the_fit_without_the_row():
    for X, y, _, _ in problems():
        for row in range(len(y)):
            direct = y[row] - X[row] @ least_squares(*without(X, y, row), PENALTY)
            assert ridge.left_out_residual(X, y, PENALTY, row) == pytest.approx(direct, abs=1e-10)


# The condition -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.999, 1.001, 2.0])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_new_label_is_closer_exactly_below_the_left_out_residual(factor, sign):
    for X, y, theta, _ in problems():
        removal = least_squares(*without(X, y, 0), PENALTY)
        new_y = y[0] + sign * factor * (y[0] - X[0] @ removal)
        labelled = least_squares(*with_new(X, y, 0, X[0], new_y), PENALTY)
        closer = np.linalg.norm(labelled - theta) < np.linalg.norm(removal - theta)
        assert ridge.relabelled_is_closer(X, y, PENALTY, 0, new_y) == closer == (factor < 1)
        # What stays nearer forgets less: the prediction for the row moves in the same ratio.
        assert abs(X[0] @ (labelled - theta)) == pytest.approx(factor * abs(X[0] @ (removal - theta)), abs=1e-10)


def test_the_condition_is_wider_than_the_residual():
    for X, y, theta, _ in problems():
        residual, left_out = abs(y[0] - X[0] @ theta), abs(ridge.left_out_residual(X, y, PENALTY, 0))
        assert residual < left_out
        assert ridge.relabelled_is_closer(X, y, PENALTY, 0, y[0] + (residual + left_out) / 2)


# The step ------------------------------------------------------------------------------------------------------------


def test_the_closed_forms_are_exact_and_the_condition_agrees(tmp_path):
    table, _ = run_step(tmp_path)
    for metric in ("theorem_1_error", "theorem_2_error", "corollary_3_error"):
        row = measurements.select(table, metric=metric).iloc[0]
        assert 0 < row["value"] < 1e-10
        assert row["n"] == 30
    agreement = measurements.select(table, metric="corollary_3_agreement").iloc[0]
    assert agreement["value"] == 1 == pytest.approx(agreement["high"])
    assert 0.8 < agreement["low"] < 1
    assert set(table["family"]) == {"instance"} and set(table["method"]) == {"ridge"}


@pytest.mark.parametrize("broken", ["removed", "replaced", "relabelled"])
def test_a_broken_closed_form_is_measured(tmp_path, monkeypatch, broken):
    monkeypatch.setattr(ridge, broken, lambda X, y, penalty, *_: ridge.fit(X, y, penalty))
    metric = {"removed": "theorem_1_error", "replaced": "theorem_2_error", "relabelled": "corollary_3_error"}[broken]
    assert measurements.select(run_step(tmp_path, points=1)[0], metric=metric)["value"].item() > 0.01


def test_a_wrong_condition_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(ridge, "relabelled_is_closer", lambda *_: True)
    agreement = measurements.select(run_step(tmp_path, problems=200, points=1)[0], metric="corollary_3_agreement")
    assert 0.3 < agreement["value"].item() < 0.7  # the labels are drawn on both sides of the bound


@pytest.mark.parametrize("kind", ridge.KINDS)
def test_the_win_rate_tends_to_one_for_tiny_edits_and_falls_for_large_ones(tmp_path, kind):
    table, _ = run_step(tmp_path)
    found = measurements.select(table, metric="closer_than_removal", kind=kind)
    rates = dict(zip(found["edit"].astype(float), found["value"], strict=True))
    assert list(rates) == EDITS
    assert rates[0.001] > 0.97
    assert 0.6 < rates[0.1] < 0.9
    assert rates[30.0] < 0.05
    assert (np.diff(list(rates.values())) < 0).all()
    assert ((found["low"] <= found["value"] + 1e-9) & (found["value"] <= found["high"] + 1e-9)).all()
    assert (found["high"] - found["low"] < 0.11).all()
    assert measurements.select(table, metric="closer_without_edit")["value"].item() == 1


def test_single_points_agree_with_sums():
    outcomes, two_sided = [], set()
    for seed in range(300):
        closer, left_out = ridge.compare_with_removal(np.random.default_rng(seed), EDITS, PENALTY, 0.3)
        rng = np.random.default_rng(seed)
        X, y = ridge.random_problem(rng, ridge.CURVE_ROWS, 1, 0.3)
        x, row, (edit_x, edit_y) = X[:, 0], rng.integers(ridge.CURVE_ROWS), rng.normal(size=2)

        def slope(x, y):
            return sum(x * y) / (sum(x**2) + PENALTY)

        def moved(new_x, new_y, x=x, y=y):
            return abs(slope(new_x, new_y) - slope(x, y))

        removal = moved(np.delete(x, row), np.delete(y, row))
        at = np.arange(len(x)) == row
        expected = [
            [moved(x + at * edit_x * size * both, y + at * edit_y * size) < removal for size in EDITS]
            for both in (1, 0)
        ]
        assert closer.tolist() == expected
        assert left_out == pytest.approx(abs(y[row] - x[row] * slope(np.delete(x, row), np.delete(y, row))))
        assert expected[1] == [abs(size * edit_y) < left_out for size in EDITS]
        outcomes.append(expected)
        two_sided.add(expected[0] == expected[1])
    assert two_sided == {True, False}
    assert 0.1 < np.mean(outcomes) < 0.9


def test_removal_moves_less_where_a_point_is_fitted_well(tmp_path):
    noisy = measurements.select(run_step(tmp_path, noise=1.0)[0], metric="removal_moves_less")["value"].to_numpy()
    fitted = measurements.select(run_step(tmp_path, noise=0.01)[0], metric="removal_moves_less")["value"].to_numpy()
    assert noisy[0] < 0.02
    assert noisy[-1] == fitted[-1] == 1
    assert (np.diff(noisy) > 0).all()
    assert fitted[1] == pytest.approx(1, abs=0.01)  # noise a tenth of the edit
    # With noise of standard deviation 1, a left-out residual is nearly a standard normal draw.
    assert noisy[2] == pytest.approx(0.683, abs=0.08)


def test_a_second_run_writes_the_same_bytes_and_the_parts_draw_apart(tmp_path):
    def written(**changed):
        run_step(tmp_path, points=50, **changed)
        return [(tmp_path / f"{name}.parquet").read_bytes() for name in ("measurements", "curves")]

    first = written()
    assert written() == first
    assert written(problems=31)[1] == first[1]
    assert written(seed=1)[1] != first[1]


@pytest.mark.parametrize(
    "wrong", [{"penalty": 0.0}, {"edits": [0.1, 0.0]}, {"problems": 0}, {"points": 0}, {"noise": -1.0}]
)
def test_arguments_out_of_range_are_refused_by_name(tmp_path, wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(run.UserError, match=f"{name} {value}".replace("[", r"\[")):
        run_step(tmp_path, **wrong)


def test_the_step_runs_from_the_command_line(tmp_path):
    values = ["--problems", "3", "--points", "4", "--penalty", "0.1", "--noise", "0.3", "--edits", "0.1", "1"]
    outputs = ["--curves", str(tmp_path / "c.parquet"), "--measurements", str(tmp_path / "m.parquet")]
    run.step(ridge.ridge, [*outputs, *values])
    assert run.read_record(tmp_path / "c.parquet")["arguments"]["edits"] == [0.1, 1.0]
    table = measurements.read([tmp_path / "m.parquet"])
    assert set(table["edit"]) == {"", "0.1", "1"} and set(table["kind"]) == {"", "general", "label"}


# The example and the figure ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_example_shows_the_fits_of_its_points(seed):
    shown = ridge.example(np.random.default_rng(seed), PENALTY, 0.3).groupby("series")[["x", "y"]]
    points = {name: part.to_numpy() for name, part in shown}
    removed, surrogate, kept = points["removed point"], points["surrogate"], points["data"]

    def line(name):
        (x, y), (other_x, other_y) = points[name]
        assert y / x == pytest.approx(other_y / other_x)
        return y / x

    def slope(*parts):
        every = np.concatenate(parts)
        return least_squares(every[:, :1], every[:, 1], PENALTY)[0]

    assert line("original fit") == pytest.approx(slope(kept, removed))
    assert line("after removal") == pytest.approx(slope(kept))
    assert line("after replacement") == pytest.approx(slope(kept, surrogate))
    assert removed[0, 0] == surrogate[0, 0]
    change = abs(line("after removal") - line("original fit"))
    assert 0 < abs(line("after replacement") - line("original fit")) < change / 2
    for other in range(len(kept)):
        assert abs(slope(np.delete(kept, other, 0), removed) - line("original fit")) <= change


def test_the_figure_draws_what_was_measured_and_clips_no_text(tmp_path):
    style.apply()
    table, curves = run_step(tmp_path)
    figure = part_of("instance", "figures", "ridge").draw(None, [tmp_path / "curves.parquet"], {})
    left, right = figure.axes
    drawn = {line.get_label(): line.get_xydata() for axes in figure.axes for line in axes.lines}
    for series in ("data", "removed point", "surrogate", "original fit", "after removal", "after replacement"):
        assert (drawn[series] == curves.loc[curves["series"] == series, ["x", "y"]].to_numpy()).all()
    for kind, called in (("label", "new label"), ("general", "new input and label")):
        found = measurements.select(table, metric="closer_than_removal", kind=kind)
        assert (drawn[called] == found[["edit", "value"]].astype(float).to_numpy()).all()
    assert (drawn["one half"][:, 1] == 0.5).all()
    assert len(right.collections) == 2  # the bands
    assert right.get_xscale() == "log" and left.get_xlabel() and right.get_xlabel() and right.get_ylabel()
    figure.canvas.draw()
    shown, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert 0 <= shown.x0 < shown.x1 <= width == style.COLUMN
    assert 0 <= shown.y0 < shown.y1 <= height
    boxes = [legend.get_window_extent() for legend in figure.legends]
    boxes += [part.get_window_extent() for axes in (left, right) for part in (axes.xaxis.label, axes.patch)]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    style.plt.close(figure)


def test_the_figure_is_saved_for_paper_and_report(tmp_path):
    run_step(tmp_path, points=20)
    figures.plot(
        tmp_path / "r.pdf",
        tmp_path / "r.png",
        family="instance",
        name="ridge",
        params={},
        inputs=[tmp_path / "curves.parquet"],
    )
    assert (tmp_path / "r.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "r.png").stat().st_size > 5000
