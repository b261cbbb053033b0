"""Notebooks over runs: what opens a run, what a cell may show, and what executes one."""

import ast
import json
import re
from importlib import import_module
from importlib.util import find_spec

import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from conftest import ROOT
from palimpsest.report import notebook
from palimpsest.run import UserError, step, write_json

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DATASETS = {
    "plain": {"params": {}},
    "marked": {"params": {"explicit": True}},
    "theirs": {"params": {}, "collection": "adult"},
    "faces": {"params": {}, "collection": "faces"},
}


@pytest.fixture
def finished(tmp_path):
    """The folder of a run that has only what it collected."""
    folder = tmp_path / "results/mini"
    (folder / "paper").mkdir(parents=True)
    config = {"families": ["lcr"], "datasets": DATASETS, "collections": {"adult": {"explicit": True}, "faces": {}}}
    about = {"experiment": "mini", "commit": "abc", "lock": "def", "config": {**config, "base_models": "released"}}
    write_json(folder / "paper/provenance.json", about)
    claim = {
        "family": "lcr",
        "statement": "It works",
        "published": "yes",
        "ours": "1",
        "verdict": "holds",
        "reason": "",
    }
    pd.DataFrame([claim, {**claim, "family": "instance"}]).to_parquet(folder / "paper/verdicts.parquet")
    pd.DataFrame({"metric": ["x"]}).to_parquet(folder / "paper/measurements.parquet")
    return folder


def write(path, *cells):
    """A notebook of code cells, the first of which holds its parameters."""
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text, id=f"cell-{number}") for number, text in enumerate(cells)]
    )
    made.cells[0].metadata["tags"] = ["parameters"]
    made.metadata["language_info"] = {"name": "python"}
    nbformat.write(made, path)
    return path


def executed(path, folder, **given):
    outputs = folder / "executed.ipynb", folder / "page.html"
    notebook.execute(path, *outputs, **given)
    return [output.read_text(encoding="utf-8") for output in outputs]


def test_a_run_is_opened_and_anything_else_refused_with_the_command_that_makes_it(finished, tmp_path):
    run = notebook.open_run(finished, "lcr")
    assert "commit abc" in str(run) and "REHEARSAL" not in str(run)
    assert run.verdicts("lcr")["statement"].tolist() == ["It works"]
    with pytest.raises(UserError, match=r"it has no paper/provenance\.json\. Make it: .*config/none\.yaml"):
        notebook.open_run(tmp_path / "results/none")
    with pytest.raises(UserError, match="no results of instance: its families are lcr"):
        notebook.open_run(finished, "instance")
    with pytest.raises(
        UserError, match=r"data/a\.npy is missing. Make it again: snakemake .*config/mini.yaml .*a\.npy"
    ):
        run.file("data/a.npy")
    about = json.loads((finished / "paper/provenance.json").read_text(encoding="utf-8"))
    about["config"]["base_models"] = "random"
    write_json(finished / "paper/provenance.json", about)
    assert "REHEARSAL: random weights. No number here means anything." in str(notebook.open_run(finished))


@pytest.mark.parametrize(
    ("sets", "explicit"),
    [(["plain"], False), (["marked"], True), (["theirs"], True), (["faces", "plain"], False), ([], True)],
)
def test_what_is_explicit_is_the_sets_or_its_collections_to_say(finished, sets, explicit):
    assert notebook.open_run(finished).explicit(*sets) == explicit


def test_every_picture_passes_the_censor():
    sharp = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    for drawn in (notebook.sheet, lambda rows, explicit: notebook.gallery({"a": rows["a"][0]}, explicit=explicit)):
        shown = {}
        for explicit in (False, True):
            figure = drawn({"a": sharp}, explicit=explicit)
            shown[explicit] = figure.axes[0].images[0].get_array()
            plt.close(figure)
        assert np.array_equal(shown[False], sharp[0])
        assert shown[True].std() < 0.3 * sharp.std()


def test_two_executions_give_the_same_bytes_and_a_page_that_loads_nothing(finished, tmp_path):
    cells = (
        "results = 'elsewhere'",
        "from palimpsest.report.notebook import open_run, show\nprint(open_run(results))",
        "import sys, warnings\nprint('noise', file=sys.stderr)\nwarnings.warn('noise')",
        "from matplotlib import pyplot as plt\nshow(plt.figure(figsize=(1, 1)), 'An <empty> figure.')",
        "import pandas as pd\npd.DataFrame({'a': [1]})",
    )
    path = write(tmp_path / "ours.ipynb", *cells)
    first = executed(path, tmp_path, results=finished)
    assert first == executed(path, tmp_path, results=finished)
    text, page = first
    assert (
        "noise" not in page.replace("print(&#39;noise&#39;", "")
        or "noise" not in json.loads(text)["cells"][3]["outputs"]
    )
    assert "Experiment mini" in page and "elsewhere" not in page
    assert 'alt="An &lt;empty&gt; figure."' in page and "<table" in page
    assert not re.search(r"<script|<link|src=\"(?!data:)|https?://(?!www\.w3\.org)", page)
    assert [cell["outputs"] for cell in json.loads(text)["cells"] if "noise" in "".join(cell["source"])] == [[]]


def test_a_failing_cell_is_named_and_leaves_nothing(finished, tmp_path, capsys):
    for fault, said in (
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("run.file('a')", "a is missing. Make it again"),
    ):
        opened = "from palimpsest.report.notebook import open_run\nrun = open_run(results)"
        path = write(tmp_path / "ours.ipynb", "results = ''", opened, fault)
        outputs = ["--executed", str(tmp_path / "e.ipynb"), "--html", str(tmp_path / "e.html")]
        with pytest.raises(SystemExit) as stopped:
            step(notebook.execute, ["--notebook", str(path), *outputs, "--results", str(finished)])
        assert "ours.ipynb, cell cell-2: " in str(stopped.value) and said in str(stopped.value)
        assert not list(tmp_path.glob("*e.html")) and not list(tmp_path.glob("*e.ipynb"))


def test_other_parameters_than_a_notebook_takes_are_refused(finished, tmp_path):
    path = write(tmp_path / "ours.ipynb", "first = 'a'\nsecond = 'b'")
    with pytest.raises(UserError, match=r"takes first, second; give these"):
        executed(path, tmp_path, results=finished)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_kept_without_outputs_and_name_the_main_job(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert [cell for cell in book.cells if cell.get("outputs") or cell.get("execution_count")] == []
    assert notebook.parameters_of(book) in ({"results"}, {"first", "second"})
    assert '"../results/mini"' in next(
        cell.source for cell in book.cells if "parameters" in cell.metadata.get("tags", [])
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_what_a_notebook_imports_of_the_package_is_there(path):
    """A notebook is executed at the end of a run: a name that has moved is to show before."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    lines = [line for source in cells for line in ast.parse(source).body if isinstance(line, ast.ImportFrom)]
    imported = [
        (line.module, part.name) for line in lines for part in line.names if line.module.startswith("palimpsest")
    ]
    assert imported
    for module, name in imported:
        assert hasattr(import_module(module), name) or find_spec(f"{module}.{name}"), f"{module} has no {name}"


def test_every_family_has_a_notebook():
    families = {path.name.removesuffix(".schema.yaml") for path in (ROOT / "workflow/schemas").glob("*.schema.yaml")}
    assert {path.stem for path in NOTEBOOKS} == families - {"config"} | {"compare"}
