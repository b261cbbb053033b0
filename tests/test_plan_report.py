"""What a table or figure is made from: read from its module, narrowed to the experiment, refused if it does not fit."""

import subprocess
import sys

import pytest

from conftest import ROOT, configuration
from palimpsest.errors import UserError
from palimpsest.plan import report
from palimpsest.plan.instance import Instance
from palimpsest.plan.lcr import Lcr

SOURCE = """
import nothing_that_is_installed

MEASUREMENTS = ("grid", "sweep")
INPUTS = ("<results>/{set}.npy", "<results>/{main_preset}/{first_model}.npz", "<results>/{model}/{rule}.npz")
PARAMS = {"models": None, "rules": ["twin", "fixed"], "sets": ["test"], "fixed": ["b"], "pictures": 12}
"""
LISTS = {
    "models": ["m", "n"],
    "rules": ["fixed", "random", "twin"],
    "sets": {"fit": "fit_set", "test": "test_set"},
    "fixed": {"a": 1, "b": 2},
    "main_preset": "corrected",
    "cases": [],
}
GROUPS = {"grid": ["g1", "g2"], "sweep": ["s"], "judges": []}
KEY = "report.lcr.figures.panels"
PLANS = {"lcr": Lcr, "instance": Instance}


def part(source: str = SOURCE, lists: dict = LISTS, given: dict | None = None, dropped: frozenset = frozenset()):
    return report.part(source, KEY, lists, GROUPS, given or {}, dropped)


def test_a_module_is_read_and_not_run():
    made = part()
    assert made.measurements == ["g1", "g2", "s"]
    assert made.params == {
        "models": ["m", "n"],
        "rules": ["twin", "fixed"],
        "sets": {"test": "test_set"},
        "fixed": {"b": 2},
        "pictures": 12,
    }
    # In the order of the module's own list, the files of one model together.
    ends = ["test_set.npy", "corrected/m.npz", "m/twin.npz", "m/fixed.npz", "n/twin.npz", "n/fixed.npz"]
    assert made.inputs == [f"<results>/{end}" for end in ends]


def test_a_part_is_given_nothing_that_it_does_not_ask_for():
    """So a new method, surrogate or set changes the parameters of those alone that show it."""
    more = {**LISTS, "rules": [*LISTS["rules"], "new"], "fixed": {**LISTS["fixed"], "new": 3}, "surrogates": ["new"]}
    assert part(lists=more) == part()
    assert part('PARAMS = {"rules": None}', lists=more).params == {"rules": ["fixed", "random", "twin", "new"]}


def test_the_configuration_overrides_and_what_an_experiment_drops_is_dropped():
    assert part(given={"pictures": 3, "rules": ["random"]}).params["rules"] == ["random"]
    assert part(given={"rules": ["random", "gone"]}, dropped=frozenset({"gone"})).params["rules"] == ["random"]
    assert part(lists={**LISTS, "rules": ["twin"]}).params["rules"] == ["twin"]
    assert part('MEASUREMENTS = ("kind", "grid")', dropped=frozenset({"kind"})).measurements == ["g1", "g2"]


@pytest.mark.parametrize(
    ("source", "given", "said"),
    [
        (SOURCE, {"pictres": 3}, r"has no parameter 'pictres'; it has \['fixed', 'models', 'pictures'"),
        (SOURCE, {"rules": ["twins"]}, r"has rules \['twins'\]; there are \['fixed', 'random', 'twin'\]"),
        ('PARAMS = {"strengths": None}', {}, "needs strengths, which neither the family nor the configuration gives"),
        ("PARAMS = dict(models=None)", {}, "PARAMS in its module is to be a plain literal"),
        ('MEASUREMENTS = ("grids",)', {}, r"reads the measurements 'grids', .*there are \['grid', 'judges', 'sweep'\]"),
        ('MEASUREMENTS = ("judges",)', {}, "has nothing to be made from: there are no measurements of judges"),
        ('INPUTS = ("{case}/panel.npz",)', {}, r"has nothing to be drawn from: there is no file \{case\}/panel"),
        ('INPUTS = ("{modle}.npz",)', {}, r"\{modle\} in its INPUTS stands for nothing that the family lists"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(source, given, said):
    with pytest.raises(UserError, match=rf"^report\.lcr\.figures\.panels:? ?.*{said}"):
        part(source, given=given)


def parts(experiment: str):
    """Every table and figure of an experiment: its place, source, plan, and the configuration's values."""
    config = configuration(experiment)
    for family, plan in PLANS.items():
        for kind, entries in config["report"][family].items():
            for name, given in entries.items():
                source = (ROOT / f"src/palimpsest/{family}/{kind}/{name}.py").read_text(encoding="utf-8")
                yield f"report.{family}.{kind}.{name}", source, plan(config), given


@pytest.mark.parametrize("experiment", ["smoke", "mini", "small", "full", "rehearsal"])
def test_every_table_and_figure_of_an_experiment_has_what_it_asks_for(experiment):
    everything = list(parts(experiment))
    assert len(everything) > 25
    for key, source, plan, given in everything:
        # A study, rule or method that the experiment lacks was dropped by it.
        made = report.part(source, key, plan.lists(), plan.groups(), given, frozenset())
        listed = {path for files in plan.groups().values() for path in files}
        assert set(made.measurements) <= listed, key
        assert not [path for path in made.inputs if "{" in path], key
        assert made.measurements or made.inputs or key == "report.instance.tables.published", key


def shown_by(marks: str) -> set[str]:
    """The tables and figures of the default experiment that read a file whose path has this in it."""
    made = {
        key: report.part(source, key, plan.lists(), plan.groups(), given) for key, source, plan, given in parts("mini")
    }
    found = {key for key, each in made.items() if any(marks in path for path in [*each.measurements, *each.inputs])}
    return {key.removeprefix("report.") for key in found}


def test_an_edit_redraws_what_shows_it_and_no_more():
    edited = {f"lcr.tables.{name}" for name in ("replacement", "replacement_scopes", "presets")}
    edited |= {f"lcr.figures.{name}" for name in ("pareto", "threshold_sweep", "panels")}
    assert shown_by("/shuffle_in_mask/") == edited
    assert shown_by("/tiny_ddpm/comparison/siss/") == {
        *(f"instance.tables.{name}" for name in ("comparison", "pairs", "collateral", "cost")),
        "instance.figures.methods",
        "instance.figures.cosines",
    }
    assert not shown_by("paper/measurements") and not shown_by("lcr/measurements")


def test_the_default_experiment_has_every_name_that_a_module_gives():
    """So that a misspelt name does not just vanish."""
    for key, source, plan, _ in parts("mini"):
        lists = plan.lists()
        for name, value in report.request(source, key).params.items():
            if isinstance(value, list) and isinstance(lists.get(name), list | dict):
                assert [each for each in value if each not in lists[name]] == [], (key, name)


def test_no_module_names_a_network_or_a_set_of_a_world():
    config = configuration("mini")
    names = {*config["networks"], *config["datasets"], *configuration("full")["networks"]}
    for key, source, plan, _ in parts("mini"):
        wanted = report.request(source, key)
        roles = set(plan.lists()["sets"])  # a role may be called as its set is
        words = set(" ".join(wanted.inputs).replace("/", " ").replace(".", " ").split())
        assert not words & names and not set(map(str, wanted.params.get("sets", None) or [])) - roles, key


def test_planning_a_report_imports_neither_torch_nor_pandas_nor_matplotlib():
    heavy = ("torch", "pandas", "matplotlib", "snakemake")
    code = f"import palimpsest.plan.report, sys; assert not set({heavy}) & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
