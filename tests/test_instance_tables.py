"""What tables and figures of instance unlearning say of their rows: how many, with which settings, which are best."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from palimpsest.instance.figures import calibration
from palimpsest.instance.figures import faulty_class as faulty_figure
from palimpsest.instance.figures.cosines import conflict_rate, of_one_target
from palimpsest.instance.tables import _rows, _settings, comparison, domain, faulty_class, pairs, strength, tuning
from palimpsest.metrics import measurements
from palimpsest.metrics.measurements import row
from palimpsest.plan import report
from palimpsest.report.lookup import Lookup
from synthetic_measurements import around

JUDGES = {"descriptor": "sscd_mini", "features": "fd_mini", "perceptual": "lpips_mini"}
ONE = {"targets": [["a"]], "seeds": [0]}
PARAMS = {
    "models": ["tiny"],
    "methods": ["unpromptable", "siss"],
    "surrogates": ["edit_weak", "edit"],
    "rows": {},
    "strengths": {"edit_weak": 0.25, "edit": 1.0},
    "axis": "of the edit",
    "repairs": ["unpromptable"],
    "judges": JUDGES,
    "evaluation": {"draws": 16, "pairs": 96},
    "studies": {
        "tuning": ONE,
        "strength": ONE,
        "comparison": {"targets": [["a", "b"]], "seeds": [0]},
        "domain": {"targets": [["c"], ["d"]], "seeds": [0]},
    },
    "fixed": {
        "unpromptable": {"steps": 40, "batch": 8, "value": 1.0, "projection": "forget"},
        "siss": {"steps": 120, "batch": 8},
    },
    "released_tunings": [],
    "grids": {"unpromptable": {"long": {"steps": 60, "distilled": True, "value": 1.5}}, "siss": {}},
}


def given(module, **lists) -> dict:
    """What a table is given: the parameters that it declares, and nothing else."""
    return report.chosen_params(module.PARAMS, module.__name__, {**PARAMS, **lists}, {}, frozenset())


METRICS = [name for name, _ in _rows.METRICS.values()]


def lookup(folder: Path, rows: list[dict]) -> Lookup:
    measurements.write(folder / "m.parquet", rows, family="instance", model="tiny")
    return Lookup([folder / "m.parquet"], "instance")


def study(name: str, method: str, similarity: float, change: float, targets: str = "mean", **labels) -> list[dict]:
    """Every column of a row."""
    values = dict.fromkeys(METRICS, 0.5) | {"similarity_target": similarity, "perceptual": change}
    shared = {"study": name, "method": method, "targets": targets, "count": 1 if targets == "mean" else ""}
    return [around(metric, value, 0.01, **shared, **labels) for metric, value in values.items()]


@pytest.mark.parametrize(
    ("targets", "seeds", "said"),
    [
        (
            [["a"]],
            [0],
            "one target (a), one seed; 16 draws of the noise, 96 pairs of samples; intervals of S are over the",
        ),
        ([["a", "b"]], [0], "one target (a), one seed"),
        (
            [["a"]],
            [0, 1],
            "one target (a), 2 seeds; 16 draws of the noise, 96 pairs of samples of each; t intervals over the 2 seeds",
        ),
        ([["a"], ["b"], ["a", "b"]], [0, 1, 2], "t intervals over the 2 targets, their seeds averaged"),
    ],
)
def test_a_note_says_over_how_many_targets_seeds_and_draws_a_row_is(targets, seeds, said):
    params = {**PARAMS, "studies": {"strength": {"targets": targets, "seeds": seeds}}}
    assert said in _rows.basis(params, "strength")
    assert said in _settings.unless(params, "strength")
    assert "one target to a row" in _rows.basis(params, "strength", to_a_row=True)


def test_settings_are_written_in_full_with_what_a_setting_of_the_grid_changes():
    full = _settings.in_full(PARAMS, "unpromptable", "long")
    assert full == {"steps": "60", "batch": "8", "value": "1.5", "projection": "forget", "distilled": "True"}
    assert _settings.described(full) == "distilled, 60 steps, batch 8, exponent 1.5, forget gradient projected"
    assert "not distilled, 40 steps" in _settings.unless(PARAMS, "strength")


def test_the_comparison_names_the_chosen_setting_and_is_bold_among_what_forgets(tmp_path):
    rows = [
        *study("comparison", "pretrained", 0.9, 0.0),
        *study("comparison", "oracle", 0.9, 0.1),
        # SISS changes less and does not forget: no rival.
        *study("comparison", "siss", 0.6, 0.2),
        *study("comparison", "unpromptable", 0.3, 0.5),
        *study("comparison", "neggrad", 0.2, 0.9),
        row("selected", 1, method="unpromptable", setting="long"),
        row("plausible_data", 0.99, method="pretrained"),
    ]
    table = comparison.build(lookup(tmp_path, rows), given(comparison, methods=["unpromptable", "neggrad", "siss"]))
    assert table.compared == [False, False, True, True, False, False]
    # Of the source's marked row, which is not ours, there is what was published alone.
    last = table.frame.iloc[-1]
    assert last["", "Method"] == "the source’s †" and last["published", "SSCD"].value == 0.17
    assert all(np.isnan(each.value) for each in last["measured here"])
    assert [line for line in table.latex().splitlines() if "textbf" in line] == [
        line for line in table.latex().splitlines() if line.startswith("Unpromptable &")
    ]
    assert "99 % are plausible" in table.notes and "distilled, 60 steps" in table.notes and "ours 1." in table.notes


def test_pairs_are_of_every_method_but_the_one_that_all_are_compared_with(tmp_path):
    labels = {"study": "comparison", "method": "siss", "count": 1, "n": 4}
    rows = [
        *study("comparison", "unpromptable", 0.3, 0.5),
        *study("comparison", "siss", 0.6, 0.2),
        row("paired_perceptual", 0.4, 0.1, 0.7, **labels),
        row("detectable_perceptual", 0.35, **labels),
        row("paired_ssim", -0.1, -0.2, 0.0, **labels),
    ]
    measurements.write(tmp_path / "pairs.parquet", rows, family="instance", model="tiny")
    known = Lookup([tmp_path / "pairs.parquet"], "instance", pairs.OPTIONAL)
    table = pairs.build(known, given(pairs, methods=["unpromptable", "siss"]))
    (only,) = table.frame.to_dict("records")
    assert only["Method"] == "SISS" and only["Pairs"] == 4 and only["group"] == "one target"
    assert only["Change"] == pytest.approx((0.4, 0.1, 0.7))
    assert only["Found"].value == 0.35 and only["SSIM"].value == -0.1


def test_where_one_method_forgets_nothing_is_bold(tmp_path):
    rows = [*study("strength", "unpromptable", 0.6, 0.1, surrogate="edit_weak")]
    rows += study("strength", "unpromptable", 0.3, 0.5, surrogate="edit")
    rows += [around("surrogate_similarity", 0.2, 0.01, surrogate=name, targets="a") for name in ("edit_weak", "edit")]
    table = strength.build(lookup(tmp_path, rows), given(strength))
    assert table.compared[:2] == [False, True] and not any(table.compared[2:])
    assert "textbf" not in table.latex()


def test_rows_of_single_targets_are_not_said_to_be_means(tmp_path):
    rows = study("domain", "unpromptable", 0.3, 0.5, targets="c")
    params = given(domain, rows={"inside": {"study": "domain", "targets": "c"}})
    assert "one target to a row" in domain.build(lookup(tmp_path, rows), params).notes


def test_the_tuning_shows_what_differs_and_says_what_is_shared(tmp_path):
    grids = {
        "unpromptable": {"linear": {"steps": 60}, "square": {"steps": 60, "value": 2.0}},
        "siss": {"last": {"timesteps": "last"}, "short": {"steps": 9}},
    }
    rows = []
    for method, settings in {method: list(grid) for method, grid in grids.items()}.items():
        for setting in settings:
            rows += study("tuning", method, 0.3, 0.5, setting=setting)
            rows += study("tuning", method, 0.3, 0.5, targets="a", setting=setting)
        rows.append(row("selected", 1, method=method, setting=settings[1]))
        rows.append(row("selected_again", 0.75, method=method, setting=settings[1]))
    table = tuning.build(lookup(tmp_path, rows), given(tuning, grids=grids))
    assert list(table.frame[("", "Setting")]) == [
        "exponent 1.0",
        "exponent 2.0 *",
        "120 steps, timesteps last",
        "9 steps *",
    ]
    again = [each.value for each in table.frame["measured here", "Again"]]
    assert np.isnan(again[::2]).all() and again[1::2] == [0.75, 0.75]
    assert "beforehand" not in table.notes
    known = tuning.build(lookup(tmp_path, rows), given(tuning, grids=grids, released_tunings=["siss"]))
    assert "SISS: measured beforehand and released with the repository" in known.notes
    assert (
        "All settings: batch 8." in table.notes
        and "Unpromptable: not distilled, 60 steps, forget gradient projected" in table.notes
    )


OTHER_RATES = ("plausible", "others_kept", "perceptual", "ssim")


def test_the_faulty_class_has_tuned_and_released_settings_and_counts_what_was_wrong(tmp_path):
    rates = ("wrong_rate", 0.25), ("right_rate", 0.7), *((name, 0.5) for name in OTHER_RATES)
    made = {
        "data": [{}],
        "pretrained": [{}],
        "unpromptable": [{"setting": "tuned"}],
        "esd": [{"setting": "tuned"}, {"setting": "released"}],
    }
    rows = [
        row(
            metric,
            value / 5 if labels.get("setting") == "released" else value,
            n=16,
            method=method,
            study="faulty_class",
            **labels,
        )
        for method, each in made.items()
        for labels in each
        for metric, value in rates
    ]
    rows += [row("selected", 1, method=method, setting=f"{method}_2") for method in ("unpromptable", "esd")]
    params = given(
        faulty_class, repairs=["unpromptable", "esd"], repair_grids={"unpromptable": ["a", "b"], "esd": ["c", "d"]}
    )
    table = faulty_class.build(lookup(tmp_path, rows), params)
    assert "Of 16 samples of the class 4 were wrong before" in table.notes and "2 settings of each" in table.notes
    assert list(table.frame["Method"])[:2] == ["data (held out)", "pretrained"]
    assert list(table.frame["Setting"]) == ["", "", "unpromptable 2", "esd 2", "released"]
    assert [each.value for each in table.frame["Wrong"]] == [0.25, 0.25, 0.25, 0.25, 0.05]


def test_conflicts_are_those_of_the_runs_that_the_table_counts():
    chain = [("a+b.edit.tuned.0-1", -0.5), ("a+b.edit.tuned.0-1", 0.5), ("a+b.edit.tuned.0-2", -0.5)]
    alone = [("c.edit.tuned.0-1", -0.1), ("c.edit.tuned.0-1", -0.1), ("d.edit.tuned.0-1", 0.1)]
    log = pd.DataFrame(chain, columns=["model", "cosine"])
    assert set(of_one_target(log)["model"]) == {"a+b.edit.tuned.0-1"} and conflict_rate(of_one_target(log)) == 0.5
    both = pd.DataFrame(chain + alone, columns=["model", "cosine"])
    assert set(of_one_target(both)["model"]) == {"c.edit.tuned.0-1", "d.edit.tuned.0-1"}
    # A mean over models, not over steps.
    assert conflict_rate(of_one_target(both)) == 0.5


def test_the_curves_are_of_both_networks_over_targets_that_the_data_hold_once(tmp_path):
    pairs = {"same person": (0.9, 0.95, 1.0), "different people": (-0.1, 0.0, 0.1)}
    cosines = [{"pair": pair, "cosine": value} for pair, values in pairs.items() for value in values]
    pd.DataFrame(cosines).to_parquet(tmp_path / "cosines.parquet")
    curves = [
        {"network": network, "target": target, "copies": copies, "timestep": timestep, "value": level - timestep / 1000}
        for network, levels in {"pretrained": (0.9, 0.8, 0.1), "oracle": (0.7, 0.6, 0.1)}.items()
        for (target, copies), level in zip({"a": "once", "b": "once", "c": "often"}.items(), levels, strict=True)
        for timestep in (100, 200)
    ]
    pd.DataFrame(curves).to_parquet(tmp_path / "curves.parquet")
    inputs = [tmp_path / "cosines.parquet", tmp_path / "curves.parquet"]
    right = calibration.draw(None, inputs, {"wanted": 0.9, "judges": JUDGES}).axes[1]
    shown = {line.get_label(): list(line.get_ydata()) for line in right.lines}
    assert shown["pretrained"] == pytest.approx([0.75, 0.65])
    assert shown["oracle (retrained)"] == pytest.approx([0.55, 0.45])
    assert len(right.lines) == 2 + 2 + 1  # the pretrained model on each target, both means, the aim


def test_the_faulty_class_is_shown_by_the_samples_that_were_chosen(tmp_path):
    own = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    shown = np.array([17, 3, 5])
    np.savez(tmp_path / "reference.npz", own=own, others=own, shown=shown)
    np.savez(tmp_path / "panel.npz", **{"tuned.0.own": own[shown] + 100, "tuned.0.others": own[:3]})
    params = {"repairs": ["unpromptable"], "own": 3, "others": 2, "seed": 0, "explicit_sets": []}
    drawn = faulty_figure.draw(None, [tmp_path / "reference.npz", tmp_path / "panel.npz"], params)
    sheets = [np.asarray(axes.images[0].get_array())[0, ::5, 0].tolist() for axes in drawn.axes]
    assert sheets == [[17, 3, 5], [0, 1], [117, 103, 105], [0, 1]]
