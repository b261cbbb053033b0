"""The report: collecting, tables, numbers, figures, provenance."""

import itertools
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from conftest import ROOT, configuration
from palimpsest.lcr.figures import pareto, threshold_sweep
from palimpsest.lcr.tables._rows import measured_on
from palimpsest.lcr.thresholds import THRESHOLD
from palimpsest.metrics import measurements
from palimpsest.metrics.measurements import row
from palimpsest.plan.lcr import Lcr
from palimpsest.plan.paper import Paper
from palimpsest.report import collect as collecting
from palimpsest.report import figures as plotting
from palimpsest.report import join as joining
from palimpsest.report import numbers as quoting
from palimpsest.report import provenance as origin
from palimpsest.report import tables as tabulating
from palimpsest.report.claims import of_family
from palimpsest.report.lookup import Lookup, evaluate
from palimpsest.report.parts import part_of
from palimpsest.report.typeset import Estimate, Format, Table, number, tex
from palimpsest.run import UserError, code_fingerprint
from synthetic_figures import TABLES, figures, params
from synthetic_measurements import MODELS, PIXELS, RULES, around, write_record, write_run


def collect(paths, folder, **settings):
    collecting.collect(list(paths), folder / "all.parquet", **settings)
    return folder / "all.parquet"


def recorded_collection(folder, name, paths):
    """What a family collected, with the record that the step leaves."""
    folder = folder / name
    folder.mkdir()
    result = collecting.collect(paths, folder / "measurements.parquet")
    write_record(folder / "measurements.parquet", result=result)
    return folder / "measurements.parquet"


def joined(collections, folder, **settings):
    table, csv = folder / "joined.parquet", folder / "joined.csv"
    joining.join(collections, table, csv, experiment="test", **settings)
    return table, csv


def planned_replacements(plan):
    """A measurement for each file of replacements that a plan has: its value says which set it is of."""
    values, rows = {"forget_test_squashed": 0.1, "forget_test": 0.2, "safe_test": 0.3}, []
    for path in (path for group in ("reconstruction", "grid", "sweep") for path in plan.groups()[group]):
        preset, model, design, name, *rule = path.removeprefix("<results>/lcr/").removesuffix(".parquet").split("/")
        labels = {"model": model, "preset": preset, "set": name}
        variants = [{"method": "original"}, {"method": "reconstruction"}]
        if design == "grid":
            pairs = plan.own("presets", preset, "variants")
            variants = [{"method": rule[0], "scope": scope, "cells": cells} for scope, cells in pairs]
        elif design == "sweep":
            variants = [{"method": rule[0], "scope": "global", "cells": "explicit", "top": 20}]
        metrics = ("detection_rate", "images_with_mask", "mask_share", "psnr", "cells_changed")
        rows += [row(metric, values[name], n=10, **labels, **variant) for metric in metrics for variant in variants]
    return rows


def test_each_preset_of_the_full_experiment_is_read_on_its_own_test_set(tmp_path):
    """A preset may have sets of its own: what is said of it selects what its jobs measure, and one row of that."""
    config = configuration("full")
    plan, path = Lcr(config), tmp_path / "measured.parquet"
    measurements.write(path, planned_replacements(plan), family="lcr", concept="face")
    lookup = Lookup([path], "lcr")
    entries = [entry for entry in quoting.read(ROOT / "paper/numbers.yaml") if "reproduce_2025" in str(entry)]
    assert len(entries) == 4
    (claim,) = (each for each in of_family(ROOT / "config/claims/lcr.yaml") if "reproduce_2025" in each["holds"])
    for model in plan.own("models"):
        assert {evaluate(entry["value"], lookup.of(model=model)) for entry in entries} == {0.1}
        here = lookup.of(model=model, **claim["where"])
        assert [evaluate(part["value"], here) for part in claim["ours"]] == [0.1, 0.2]
        assert [evaluate(claim[part], here, {"margin": claim["margin"]}) for part in ("holds", "fails")] == [
            True,
            False,
        ]
    asked = Paper(config, {"lcr": plan}, set()).part("lcr", "tables", "presets").params
    table = part_of("lcr", "tables", "presets").build(lookup, asked)
    for (_, preset), column in table.frame.iloc[:, 2:].items():
        assert {cell.value for cell in column} == {{"released": 0.1, "corrected": 0.2}[preset]}
    assert "set forget test, n\u2009=\u200910; set forget test squashed, n" in table.caption


def one_file(folder, name="m", record=None, family="lcr", value=1 / 3):
    path = folder / f"{name}.parquet"
    measurements.write(path, [around("a", value)], family=family, model=name)
    write_record(path, **(record or {}))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    paths = write_run(folder)
    return collect(paths, folder), paths


def test_collecting_is_sorted_and_independent_of_the_order(tmp_path):
    paths = [one_file(tmp_path, name) for name in ("b", "a", "c")]
    first = collect(paths, tmp_path).read_bytes()
    assert collect(paths[::-1], tmp_path).read_bytes() == first
    assert list(pd.read_parquet(tmp_path / "all.parquet")["model"]) == ["a", "b", "c"]


def test_families_are_joined_sorted_rounded_and_with_shared_judges_once(tmp_path):
    judge = one_file(tmp_path, "judge", family="judges")
    families = {name: [one_file(tmp_path, f"{name}_model", family=name), judge] for name in ("two", "one")}
    collections = [recorded_collection(tmp_path, name, paths) for name, paths in families.items()]
    written = joined(collections, tmp_path)[1].read_bytes()
    assert joined(collections[::-1], tmp_path)[1].read_bytes() == written
    table = pd.read_csv(tmp_path / "joined.csv")
    assert list(table["family"]) == ["judges", "one", "two"] and set(table["experiment"]) == {"test"}
    assert b"0.333333," in written and b"0.3333333" not in written


def test_families_measured_in_two_environments_or_apart_about_a_judge_are_refused(tmp_path):
    one = recorded_collection(tmp_path, "one", [one_file(tmp_path, "a"), one_file(tmp_path, "j", family="judges")])
    (tmp_path / "later").mkdir()
    two = recorded_collection(tmp_path, "two", [one_file(tmp_path / "later", "j", family="judges", value=0.5)])
    with pytest.raises(UserError, match="share their labels"):
        joined([one, two], tmp_path)
    record = json.loads((tmp_path / "two/measurements.record.json").read_text(encoding="utf-8"))
    record["result"]["locks"] = ["another"]
    (tmp_path / "two/measurements.record.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UserError, match=r"different environments.*allow-mixed"):
        joined([one, two], tmp_path)


def test_collecting_refuses_records_of_two_locks(tmp_path):
    paths = [one_file(tmp_path, "a"), one_file(tmp_path, "b", {"lock": "another"})]
    with pytest.raises(UserError, match=r"different environments.*allow-mixed"):
        collect(paths, tmp_path)
    collect(paths, tmp_path, allow_mixed=True)


def test_collecting_refuses_results_of_another_commit(tmp_path):
    stale = {**code_fingerprint(), "palimpsest/run.py": "0" * 16}
    path = one_file(tmp_path, "a", {"code": stale})
    with pytest.raises(UserError, match=r"another commit.*palimpsest/run\.py.*forcerun"):
        collect([path], tmp_path)
    with pytest.raises(UserError, match="gone"):
        collect([one_file(tmp_path, "a", {"code": {"palimpsest/gone.py": "0" * 16}})], tmp_path)


def test_collecting_refuses_a_file_without_record_and_doubled_measurements(tmp_path):
    path = one_file(tmp_path, "a")
    path.with_name("a.record.json").unlink()
    with pytest.raises(UserError, match="no record"):
        collect([path], tmp_path)
    first, second = one_file(tmp_path, "b"), tmp_path / "again.parquet"
    second.write_bytes(first.read_bytes())
    write_record(second)
    with pytest.raises(UserError, match="share their labels"):
        collect([first, second], tmp_path)


def test_a_record_under_the_name_of_a_sister_output_is_found(tmp_path):
    path = one_file(tmp_path, "a")
    record = json.loads(path.with_name("a.record.json").read_text(encoding="utf-8"))
    record["outputs"] = {"first": "x/first.npz", "measurements": str(path)}
    path.with_name("a.record.json").rename(tmp_path / "first.record.json")
    (tmp_path / "first.record.json").write_text(json.dumps(record), encoding="utf-8")
    collect([path], tmp_path)


@pytest.mark.parametrize(
    ("value", "style", "text"),
    [
        (0.6251, Format(2), "0.63"),
        (-0.001, Format(2), "0.00"),
        (-1.25, Format(1), "−1.2"),
        (0.1234, Format(1, "percent"), "12.3"),
        (0.0004, Format(kind="p"), "<0.001"),
        (0.0213, Format(kind="p"), "0.021"),
        (float("nan"), Format(), "–"),
        (float("inf"), Format(), "∞"),
        (280000, Format(0), "280\u2009000"),
    ],
)
def test_numbers_are_rounded_in_python(value, style, text):
    assert number(value, style) == text


def test_text_becomes_latex():
    assert tex("50 % of a_b & −1") == r"50\,\% of a\_b \& $-$1"


def best(rows, better):
    frame = pd.DataFrame({"Rule": [f"r{index}" for index in range(len(rows))], "Score": rows})
    table = Table(frame, "caption", "tab:x", {"Score": Format(2, better=better)})
    return re.findall(r"\\textbf\{([\d.]+)\}", table.latex())


def test_bold_only_where_intervals_do_not_overlap():
    apart = [Estimate(0.1, 0.05, 0.15), Estimate(0.5, 0.4, 0.6), Estimate(0.7, 0.65, 0.8)]
    assert best(apart, "low") == ["0.10"]
    assert best(apart, "high") == ["0.70"]
    assert best([Estimate(0.1, 0.05, 0.15), Estimate(0.14, 0.1, 0.2)], "low") == []
    assert best([Estimate(0.1, 0.05, 0.15), Estimate(float("nan"))], "low") == []


def test_twins_of_a_table_hold_the_same_rows(tmp_path):
    frame = pd.DataFrame({"Rule": ["a_b", "c"], "Share": [Estimate(0.25, 0.2, 0.3), Estimate(0.5)]})
    paths = [tmp_path / f"t.{kind}" for kind in ("tex", "csv", "html")]
    Table(frame, "A caption", "tab:t", {"Share": Format(0, "percent")}).write(*paths)
    source = paths[0].read_text(encoding="utf-8")
    assert r"a\_b & 25 {\scriptsize [20, 30]} \\" in source and r"Share (\%)" in source
    csv = pd.read_csv(paths[1])
    assert list(csv["Share"]) == [0.25, 0.5] and list(csv["Share low"].dropna()) == [0.2]
    assert "25 [20, 30]" in paths[2].read_text(encoding="utf-8")


def test_the_page_of_a_table_has_its_spanning_heads_and_bold_and_says_what_bold_means_where_there_is_some():
    values = [Estimate(0.1, 0.05, 0.15), Estimate(0.5, 0.4, 0.6)]
    columns = pd.MultiIndex.from_tuples([("", "Rule"), ("here", "Score"), ("here", "Other")])
    frame = pd.DataFrame([("a", values[0], values[0]), ("b", values[1], values[1])], columns=columns)
    page = Table(frame, "caption", "tab:x", {"Score": Format(2, better="low")}, bold="Bold: the lowest.").html()
    assert '<th colspan="2">here</th>' in page and "<td><b>0.10 [0.05, 0.15]</b></td>" in page
    assert "Bold: the lowest." in page
    assert "Bold" not in Table(frame, "caption", "tab:x", bold="Bold: the lowest.").html()


@pytest.mark.parametrize("name", TABLES)
def test_each_table_builds_and_has_measured_cells(run, tmp_path, name):
    paths = [tmp_path / f"t.{kind}" for kind in ("tex", "csv", "html")]
    given = {"params": params("tables", name), "measurements": [run[0]]}
    tabulating.tabulate(*paths, family="lcr", name=name, **given)
    first = [path.read_bytes() for path in paths]
    tabulating.tabulate(*paths, family="lcr", name=name, **given)
    assert [path.read_bytes() for path in paths] == first
    assert pd.read_csv(paths[1]).select_dtypes("number").notna().any().any()
    assert rf"\label{{tab:lcr-{name.split('_')[-1] if name == 'replacement_scopes' else name.replace('_', '-')}}}" in (
        paths[0].read_text(encoding="utf-8")
    )


def test_a_misspelt_metric_is_an_error_that_names_table_and_metric(run, tmp_path, monkeypatch):
    module, paths = part_of("lcr", "tables", "injection"), [tmp_path / f"t.{kind}" for kind in ("tex", "csv", "html")]
    given = {"params": params("tables", "injection"), "measurements": [run[0]]}
    rows = [("", "Ratio", "injection_ration", {"against": "codes"}, Format(2)), *module.ROWS]
    monkeypatch.setattr(module, "ROWS", rows)
    said = r"the table lcr_injection: no measurement is of the metric 'injection_ration' \(there is injection_ratio"
    with pytest.raises(UserError, match=said):
        tabulating.tabulate(*paths, family="lcr", name="injection", **given)
    monkeypatch.setattr(module, "OPTIONAL", ("injection_ration",), raising=False)
    tabulating.tabulate(*paths, family="lcr", name="injection", **given)  # the row is left out
    assert "Ratio" not in paths[1].read_text(encoding="utf-8").split()


def test_a_misspelt_metric_of_a_figure_or_a_quoted_number_names_it(run, tmp_path, monkeypatch):
    figure, paths = part_of("lcr", "figures", "global_replacement"), (tmp_path / "f.pdf", tmp_path / "f.png")
    monkeypatch.setattr(figure, "PANELS", (("detection_rates", "forget_test", "found"),))
    given = {"params": params("figures", "global_replacement"), "measurements": [run[0]]}
    with pytest.raises(UserError, match=r"the figure lcr_global_replacement: .*'detection_rates'"):
        plotting.plot(*paths, family="lcr", name="global_replacement", **given)
    with pytest.raises(UserError, match=r"the number 'a': .*'acu'"):
        quoting.shown({"name": "a", "value": "value('acu')"}, Lookup([run[0]], "lcr"))


def test_an_unknown_table_names_the_file_to_write():
    with pytest.raises(UserError, match=r"src/palimpsest/lcr/tables/nothing\.py"):
        part_of("lcr", "tables", "nothing")


def test_each_figure_draws_and_is_reproducible(run, tmp_path):
    for name, inputs in figures(tmp_path / "inputs").items():
        given = {"params": params("figures", name), "measurements": [run[0]], "inputs": inputs}
        made = []
        for attempt in range(2 if name in ("scores", "pareto") else 1):
            paths = [tmp_path / f"{name}{attempt}.{kind}" for kind in ("pdf", "png")]
            plotting.plot(*paths, family="lcr", name=name, **given)
            made.append([path.read_bytes() for path in paths])
        assert all(part == made[0] for part in made), name
        height = int.from_bytes(made[0][1][20:24], "big")
        assert 0 < height <= 1200, name


@pytest.mark.parametrize("name", ["panels", "injection", "contact_sheet"])
def test_pictures_of_an_explicit_set_cannot_be_shown_sharp(run, tmp_path, monkeypatch, name):
    inputs, given = (
        figures(tmp_path / "inputs")[name],
        params("figures", name, explicit_sets=["forget_test", "twin_test"]),
    )
    figure = part_of("lcr", "figures", name).draw(None, inputs, given)
    for axes in figure.axes:
        for image in axes.images:
            picture = np.asarray(image.get_array())
            if picture.ndim == 3 and picture.dtype == np.uint8:
                # Sharp scenes have edges of a hundred grey levels; the censor leaves a few mean colours.
                inner = picture[:60, :60].astype(int)
                assert np.abs(np.diff(inner, axis=0)).max() < 40
    del given["explicit_sets"]
    with pytest.raises(KeyError):
        part_of("lcr", "figures", name).draw(None, inputs, given)


def test_pictures_that_no_panel_holds_are_named_with_the_place_to_choose_others(run, tmp_path):
    inputs, given = figures(tmp_path / "inputs")["panels"], params("figures", "panels")
    with pytest.raises(UserError, match=r"pictures \[0, 99\], and there are \d+, .*figures\.panels\.pictures"):
        part_of("lcr", "figures", "panels").draw(None, inputs, {**given, "pictures": [0, 99]})


def test_of_two_sets_only_the_explicit_one_is_censored(run, tmp_path):
    inputs, given = figures(tmp_path / "inputs")["contact_sheet"], params("figures", "contact_sheet")
    figure = part_of("lcr", "figures", "contact_sheet").draw(None, inputs, {**given, "explicit_sets": ["forget_test"]})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["forget test", "twin test"]
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    sharp = [np.abs(np.diff(picture[:, :60].astype(int), axis=0)).max() for picture in shown]
    assert sharp[0] < 40 < sharp[1]


def test_numbers_name_every_model_and_say_what_is_not_measured(run, tmp_path):
    definitions = tmp_path / "numbers.yaml"
    definitions.write_text(
        "optional: [nothing]\n"
        "numbers:\n"
        "- {name: lcrA, family: lcr, per: model, interval: true, digits: 2,"
        ' value: \'value("auc", classifier="full", source="balanced", evaluation="same")\'}\n'
        "- {name: lcrB, family: lcr, per: model, value: 'value(\"nothing\")'}\n"
        "- {name: lcrC, published: 0.5, kind: percent, digits: 1}\n"
        "- {name: otherD, family: other, value: 'value(\"x\")'}\n",
        encoding="utf-8",
    )
    macros, sections = tmp_path / "numbers.tex", tmp_path / "families.tex"
    quoting.numbers(
        [run[0]],
        definitions,
        macros,
        sections,
        families={"lcr": list(MODELS)},
        experiment="test",
        procedural=True,
        rehearsal=False,
    )
    text = macros.read_text(encoding="utf-8")
    assert r"\newcommand{\lcrA}{0.95 [0.93, 0.97] (Gumbel) and 0.95 [0.93, 0.97] (nearest)}" in text
    assert r"\newcommand{\lcrB}{\emph{not measured}}" in text
    assert r"\newcommand{\lcrC}{50.0\,\%}" in text
    assert r"\newcommand{\otherD}{\emph{not measured}}" in text
    assert sections.read_text(encoding="utf-8") == "\\input{sections/lcr}\n"


def test_a_condition_names_the_models_for_which_it_is_true(tmp_path):
    path = tmp_path / "m.parquet"
    rows = [around("a", value, model=model) for model, value in zip(MODELS, (0.2, 0.8), strict=True)]
    measurements.write(path, rows, family="lcr")
    lookup = Lookup([path], "lcr", ["b"])

    def told(condition):
        return quoting.measured({"family": "lcr", "kind": "models", "value": condition}, lookup, list(MODELS))

    assert told("value('a') < 0.5") == "Gumbel"
    assert told("value('a') > 0") == "Gumbel and nearest"
    assert told("low('a') > 1") == "no model"
    assert told("value('b') > 0") == quoting.UNMEASURED


def test_a_caption_says_the_set_and_its_size(run):
    lookup = Lookup([run[0]], "lcr", ["nothing"])
    assert measured_on(lookup, "psnr", set="calibration", method="") == "set calibration, n\u2009=\u2009300"
    assert measured_on(lookup, "nothing") == "not measured"


@pytest.mark.parametrize("reached", [True, False])
def test_counterfactual_curves_end_together_also_where_no_image_crosses(run, tmp_path, reached):
    inputs = figures(tmp_path / "inputs")["counterfactual"]
    for path in inputs[1::2]:
        pd.read_parquet(path).assign(reached=reached).to_parquet(path)
    below = part_of("lcr", "figures", "counterfactual").draw(None, inputs, {"models": list(MODELS)}).axes[1]
    lines = [line for line in below.lines if not line.get_label().startswith("_")]
    assert len(lines) == 2 * len(MODELS) and len({len(line.get_xdata()) for line in lines}) == 1
    assert {line.get_ydata()[-1] for line in lines} == {float(reached)}


def test_numbers_of_a_crowded_figure_stand_apart():
    """Marks so close that their numbers would cover each other, and one alone."""
    crowd = {name: np.array([50.0 + 3 * index, 20.0]) for index, name in enumerate("abcdef")}
    centres = crowd | {"alone": np.array([150.0, 20.0])}
    places = pareto.spread(centres, list(centres.values()))
    assert places["alone"] == pareto.NEAR[0]
    numbers = {name: centres[name] + places[name] for name in centres}
    for first, second in itertools.combinations(numbers.values(), 2):
        assert (np.abs(first - second) >= pareto.FROM_NUMBER).any()
    for place, mark in itertools.product(numbers.values(), centres.values()):
        assert (np.abs(place - mark) >= pareto.FROM_MARK).any()


def test_every_rule_of_the_crowded_figure_has_one_number():
    rules = [*RULES, *PIXELS, "a_rule_of_no_group"]
    grouped = pareto.grouped(rules)
    assert sorted(rule for members in grouped.values() for rule in members) == sorted(rules)


def test_a_patch_of_black_is_drawn_black_and_no_two_curves_alike(run):
    rules = ["random_safe", "nn_embed", "masked_requant", "shuffle_in_mask", "border_fill", "black"]
    given = {**params("figures", "threshold_sweep"), "rules": rules}
    panel = threshold_sweep.draw(Lookup([run[0]], "lcr"), [], given).axes[0]
    curves = {line.get_label(): line for line in panel.lines if not line.get_label().startswith("_")}
    assert curves["black"].get_color() == "black"
    assert len({line.get_marker() for line in curves.values()}) == len(curves) == len(rules) + 1
    assert [line.get_xdata()[0] for line in panel.lines if len(set(line.get_xdata())) == 1] == [THRESHOLD]
    assert all(THRESHOLD in line.get_xdata() for line in curves.values())


@pytest.mark.parametrize("names", [["a1"], ["a", "a"]])
def test_names_that_latex_cannot_take_are_refused(tmp_path, names):
    path = tmp_path / "numbers.yaml"
    path.write_text(json.dumps({"numbers": [{"name": name, "published": 1} for name in names]}), encoding="utf-8")
    with pytest.raises(UserError):
        quoting.read(path)


def test_a_key_that_a_number_holds_twice_is_refused_with_both_lines(tmp_path):
    path = tmp_path / "numbers.yaml"
    path.write_text("numbers:\n- {name: a, published: 1,\n   published: 2}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"numbers\.0\.published stands in lines 2 and 3; keep one"):
        quoting.read(path)


def test_provenance_sums_costs_by_rule(run, tmp_path):
    lines = [
        {"s": 2.0, "max_rss": 100.0, "rule_name": "lcr_replace"},
        {"s": 3.0, "max_rss": "NA", "rule_name": "lcr_replace"},
        {"s": 1.0, "max_rss": "NA", "rule_name": "collect"},
    ]
    benchmarks = []
    for index, line in enumerate(lines):
        benchmarks.append(tmp_path / f"{index}.jsonl")
        benchmarks[-1].write_text(json.dumps(line) + "\n", encoding="utf-8")
    paths = [tmp_path / f"p.{kind}" for kind in ("json", "tex", "csv", "html")]
    origin.provenance(run[0], run[1], tmp_path, *paths, experiment="test", config={"a": 1})
    about = json.loads(paths[0].read_text(encoding="utf-8"))
    assert about["seconds"] == 6 and about["config"] == {"a": 1} and about["measured_by"]["device"] == ["cpu"]
    costs = pd.read_csv(paths[2]).set_index("Rule")
    assert list(costs.index) == ["lcr_replace", "collect"]
    assert costs.loc["lcr_replace", "Sum (s)"] == 5 and costs.loc["lcr_replace", "Memory (MB)"] == 100
    assert np.isnan(costs.loc["collect", "Memory (MB)"])
    benchmarks[0].write_text("nonsense\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 1"):
        origin.cost_table(benchmarks)


def test_no_step_of_the_report_imports_torch():
    names = ("collect", "join", "claims", "tables", "figures", "numbers", "provenance", "compile")
    imports = "; ".join(f"import palimpsest.report.{name}" for name in names)
    subprocess.run([sys.executable, "-c", f"{imports}; import sys; assert 'torch' not in sys.modules"], check=True)
