"""Tables of erased concepts over made-up measurements: which concepts are erased, what it costs, what changes do."""

import math
from pathlib import Path

import pytest

from palimpsest.erasure.tables import comparison, concepts, forms
from palimpsest.metrics import measurements
from palimpsest.report.erased import intervals
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Marked
from synthetic_measurements import around

CONCEPTS = ["church", "stripes"]
ROLES = ("own", "synonym", "template", "unnamed", "neighbour", "rest")
COMMON = {
    "models": ["tiny"],
    "oracles": {"tiny": {}},
    "methods": ["esd_x", "uce"],
    "studies": {"comparison": {"concepts": CONCEPTS, "seeds": [0], "methods": ["esd_x", "uce"], "options": []}},
}


def rates(erased: float, kept: float, **labels) -> list[dict]:
    """What the judges read of a model on one concept."""
    found = [around("erased", erased, prompts=role, **labels) for role in ROLES[:3]]
    found += [around("kept", kept, prompts=role, **labels) for role in ROLES]
    found += [around("appears", 0.1, prompts="unnamed", **labels), around("redrawn", 0.3, prompts="own", **labels)]
    return found + [
        around(metric, 0.2, prompts="rest", **labels) for metric in ("perceptual", "frechet", "frechet_data")
    ]


def lookup(folder: Path, rows: list[dict]) -> Lookup:
    measurements.write(folder / "m.parquet", rows, family="erasure", model="tiny")
    return Lookup([folder / "m.parquet"], "erasure")


@pytest.fixture
def compared(tmp_path) -> Lookup:
    rows = []
    for concept, esd, uce in (("church", 0.95, 0.5), ("stripes", 0.85, 0.5), ("all", 0.9, 0.5)):
        for method, erased in (("esd_x", esd), ("uce", uce)):
            labels = {"method": method, "concept": concept, "setting": "tuned", "study": "comparison"}
            rows += rates(erased, 0.93, **labels)
            passes = {"forwards": 1000, "backwards": 500} if method == "esd_x" else {"forwards": 0, "backwards": 0}
            if concept != "all":
                rows += [
                    measurements.row(name, value * (1 + (concept == "church")), n=1, **labels)
                    for name, value in passes.items()
                ]
        for network in ("pretrained", "random"):
            rows += rates(0.02, 0.95, method=network, concept=concept, study="networks")
    return lookup(tmp_path, rows)


def test_the_table_of_concepts_says_which_are_erased_and_by_which_methods_none(compared):
    table = concepts.build(compared, {**COMMON, "erased": 0.9, "kept": 0.9})
    rows = table.frame.set_index(("", "Row"))
    marked = {
        (row, column) for row in rows.index for column in rows.columns if isinstance(rows.loc[row, column], Marked)
    }
    assert marked == {("ESD-x", ("church", "erased"))}
    assert "; of no concept by UCE." in table.caption
    assert "95$\\dagger$" in table.latex() and "95†" in table.html()
    # Nothing is erased where too little is kept.
    strict = concepts.build(compared, {**COMMON, "erased": 0.9, "kept": 0.94})
    assert "; of no concept by ESD-x, UCE." in strict.caption and "dagger$ " not in strict.latex().split("toprule")[1]


def test_the_table_of_all_concepts_counts_them_and_what_one_costs(compared):
    params = {**COMMON, "data": None, "prompts": dict.fromkeys(ROLES, 5), "names": {"perceptual": "p", "features": "f"}}
    table = comparison.build(compared, {**params, "erased": 0.9, "kept": 0.9})
    rows = table.frame.set_index("Row")
    assert rows.loc["ESD-x", "On"].value == 1 and rows.loc["UCE", "On"].value == 0
    # A forward and a backward of two: 1000 + 2 * 500, and twice as many of the other concept.
    assert rows.loc["ESD-x", "Cost"].value == pytest.approx(3) and rows.loc["UCE", "Cost"].value == 0
    assert "FD data" not in table.frame and "FD data" not in table.caption
    against = comparison.build(compared, {**params, "data": "imagenet", "erased": 0.9, "kept": 0.9})
    assert "FD data" in against.frame and "imagenet; mean over concepts" in against.caption
    assert table.latex().count("–") == 0 and "--" in table.latex()  # what was never edited has no cost


@pytest.mark.parametrize(("seeds", "said"), [([0], "an edit is trained once"), ([0, 1, 2], "its 3 seeds of training")])
def test_a_table_says_what_its_intervals_are_over(compared, seeds, said):
    study = {**COMMON["studies"]["comparison"], "seeds": seeds}
    table = concepts.build(compared, {**COMMON, "erased": 0.9, "kept": 0.9, "studies": {"comparison": study}})
    assert "over prompts" in table.notes and said in table.notes
    several = intervals("pictures", study)
    assert several.startswith("Intervals are 95 %, over pictures; ") and ("quadrature" in several) == (len(seeds) > 1)


def test_each_form_stands_below_its_method_beside_the_tuned_one(tmp_path):
    options = [{"name": "as_tuned"}, {"name": "gated", "method": "spm"}, {"name": "on_policy", "method": "esd_x"}]
    study = {"concepts": CONCEPTS, "seeds": [0], "methods": ["esd_x", "spm"], "options": options}
    made = {("esd_x", "as_tuned"): 0.9, ("esd_x", "on_policy"): 0.7, ("spm", "as_tuned"): 0.8, ("spm", "gated"): 0.6}
    rows = []
    for (method, setting), erased in made.items():
        rows += rates(erased, 0.9, method=method, setting=setting, concept="all", study="forms")
    table = forms.build(lookup(tmp_path, rows), {"models": ["tiny"], "studies": {"forms": study}})
    found = {(row["group"], row["Changed"]): row["Erased"].value for row in table.frame.to_dict("records")}
    assert found == {
        ("ESD-x", "as tuned"): 0.9,
        ("ESD-x", "on policy"): 0.7,
        ("SPM", "as tuned"): 0.8,
        ("SPM", "gated"): 0.6,
    }
    assert "on church, stripes" in table.caption


def test_changes_that_are_not_judged_on_the_rest_leave_its_cells_empty(tmp_path):
    rows = [
        around(metric, 0.9, prompts=role, method="esd_x", setting="as_tuned", concept="all", study="forms")
        for metric, role in (("erased", "own"), ("kept", "own"), ("kept", "neighbour"))
    ]
    study = {"concepts": CONCEPTS, "seeds": [0], "methods": ["esd_x"], "options": [{"name": "as_tuned"}]}
    measurements.write(tmp_path / "m.parquet", rows, family="erasure", model="tiny")
    found = Lookup([tmp_path / "m.parquet"], "erasure", forms.OPTIONAL)
    (row,) = forms.build(found, {"models": ["tiny"], "studies": {"forms": study}}).frame.to_dict("records")
    assert row["Near"].value == 0.9 and all(math.isnan(row[name].value) for name in ("Rest", "Change", "FD"))
