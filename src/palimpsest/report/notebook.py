"""Notebooks over the artifacts of a run: what their cells open a run with, and the step that executes one.

In a cell:

    run = open_run("results/mini", "lcr")
    images = np.load(run.file("data/forget_test/images.npy"), mmap_mode="r")
    show(sheet({"forget": images[:8]}, explicit=run.explicit("forget_test")), "Eight pictures of the forget set.")

The step executes a notebook with papermill, in a kernel of the interpreter that runs it and with this checkout's code,
and writes it and its page so that two executions give the same bytes. papermill and nbconvert are imported there: a
notebook that a person runs needs Jupyter only.
"""

import ast
import io
import json
import sys
import tempfile
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from palimpsest.consent import is_explicit
from palimpsest.metrics.censor import publishable
from palimpsest.report import style
from palimpsest.report.records import record_of
from palimpsest.report.typeset import Format, number
from palimpsest.run import PACKAGE, Input, Output, UserError, step

COLLECTED = ("paper/provenance.json", "paper/measurements.parquet", "paper/verdicts.parquet")
DPI = 180
SCREEN = 120  # pixels of the page per inch of a figure: 8 pt are then nearly as large as the prose
LABEL, LARGEST = 1.1, 1.2  # inches: what the names of rows take, and the largest side of a picture
LETTERS = 15  # of a line of such a name
SIGNED = plt.get_cmap("PuOr_r")  # orange above zero, purple below: also for colour-blind readers


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and what its provenance.json says."""

    folder: Path
    provenance: dict

    @property
    def config(self) -> dict:
        """The configuration of the run, as it was."""
        return self.provenance["config"]

    def file(self, name: str) -> Path:
        """A file or folder of the run; raises UserError, with the command that makes it, where it is missing."""
        path = self.folder / name
        if not path.exists():
            raise UserError(f"{path} is missing. Make it again: {command_of(self.folder, name)}")
        return path

    def input_of(self, name: str, argument: str) -> Path:
        """What a step read as an argument when it wrote a file of the run: the network behind codes, for example."""
        path = Path(record_of(self.file(name))["inputs"][argument])
        # Steps run where the checkout is, which is where the folder of all results lies.
        found = self.folder.parent.parent / path
        if not found.exists():
            raise UserError(f"{found}, from which {self.folder / name} was made, is missing: fetch or make it again")
        return found

    def explicit(self, *sets: str) -> bool:
        """Whether any of these sets may only be shown censored; of what a model drew, name none: all sets count.

        A set is explicit by its own parameters or by the collection that its pictures come from.
        """
        known = self.config["datasets"]
        marked = [known[name]["params"] for name in sets or known]
        marked += [
            self.config["collections"][known[name]["collection"]]
            for name in sets or known
            if "collection" in known[name]
        ]
        asked = self.concepts() if not sets else []
        return any(row.get("explicit", False) is not False for row in marked) or any(map(is_explicit, asked))

    def concepts(self) -> list[dict]:
        """The rows of the concepts that studies of the run's families may use."""
        parts = [self.config.get(family, {}) for family in self.config["families"]]
        rows = [row for part in parts for row in part.get("concepts", {}).values()]
        return [row for row in rows if not is_explicit(row) or row.get("consent") is True]

    def verdicts(self, family: str) -> pd.DataFrame:
        """What the measurements say of the family's claims."""
        table = pd.read_parquet(self.file("paper/verdicts.parquet"))
        return table.loc[table["family"] == family, ["statement", "published", "ours", "verdict", "reason"]]

    def __str__(self) -> str:
        about = self.provenance
        text = f"Experiment {about['experiment']}, commit {about['commit']}, environment {about['lock']}."
        rehearsed = self.config["base_models"] == "random"
        return text + " REHEARSAL: random weights. No number here means anything." * rehearsed


def open_run(results: str | Path, family: str | None = None) -> Run:
    """Open the folder of a finished run; raises UserError for any other folder, or a run without the family."""
    folder = Path(results)
    for name in COLLECTED:
        if not (folder / name).exists():
            raise UserError(f"{folder} is not a finished run: it has no {name}. Make it: {command_of(folder)}")
    run = Run(folder, json.loads((folder / COLLECTED[0]).read_text(encoding="utf-8")))
    if family is not None and family not in run.config["families"]:
        raise UserError(f"{folder} has no results of {family}: its families are {', '.join(run.config['families'])}")
    return run


def command_of(folder: Path, *files: str) -> str:
    """What makes a run, or files of it."""
    name = folder.resolve().name
    configured = [f"config/{file}.yaml" for file in (["full", name] if name == "rehearsal" else [name])]
    targets = ["--", *(f"results/{name}/{file}" for file in files)] if files else []
    return " ".join(["snakemake --configfile", *configured, *targets])


def sheet(rows: dict[str, np.ndarray], *, explicit: bool, columns: Iterable[str] = ()) -> Figure:
    """Rows of pictures (n, h, w, 3) uint8, named on their left."""
    count = max(len(pictures) for pictures in rows.values())
    side = min((style.PAGE - LABEL) / count, LARGEST)
    figure, axes = _frames(len(rows), count, side, LABEL)
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        _put(line, pictures, explicit)
        line[0].set_anchor("E")  # the room that a narrow sheet leaves is the name's
        line[0].set_ylabel(textwrap.fill(name, LETTERS), rotation=0, ha="right", va="center")
    for place, name in zip(axes[0], columns, strict=False):
        place.set_title(name.replace(" ", "\n", 1), fontsize=7)
    return figure


def gallery(pictures: dict[str, np.ndarray], *, explicit: bool, columns: int = 6) -> Figure:
    """Single pictures (h, w, 3) uint8 of one size, each under its name."""
    lines = -(-len(pictures) // columns)
    figure, axes = _frames(lines, columns, min(style.PAGE / columns, LARGEST), 0, 0.3)
    _put(axes.flat, np.stack(list(pictures.values())), explicit)
    for place, name in zip(axes.flat, pictures, strict=False):
        place.set_title(name.replace(", ", ",\n"), fontsize=7)
    return figure


def _frames(lines: int, columns: int, side: float, left: float, above: float = 0.0) -> tuple[Figure, np.ndarray]:
    """Empty places for pictures, `side` inches each, with room on the left of a line and above each."""
    size = (left + side * columns, (side + above) * lines + 0.3)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False)
    for place in axes.flat:
        place.set(xticks=[], yticks=[])
        place.spines[:].set_visible(False)
    return figure, axes


def _put(places: Iterable[Axes], pictures: np.ndarray, explicit: bool) -> None:
    """Draw pictures (n, h, w, 3) uint8 into as many places. Every picture of a notebook passes the censor here."""
    for place, picture in zip(places, publishable(np.asarray(pictures), explicit), strict=False):
        place.imshow(picture)


def coloured(values: np.ndarray, limit: float) -> np.ndarray:
    """Numbers (...) from -limit to limit as pixels (..., 3) uint8: such maps of pictures pass the censor too."""
    return SIGNED(plt.Normalize(-limit, limit)(values), bytes=True)[..., :3]


def colour_key(figure: Figure, limit: float, label: str) -> None:
    """What the colours of such maps mean, right of a figure."""
    figure.colorbar(ScalarMappable(plt.Normalize(-limit, limit), SIGNED), ax=figure.axes, label=label, aspect=12)


def dots(axes: Axes, names: Iterable[str], rows: pd.DataFrame, filled: Iterable[bool] | None = None) -> None:
    """Estimates with their 95 % intervals, one line for each name, the first on top. rows: value, low, high."""
    names = list(map(str, names))
    places = range(len(names))
    axes.hlines(places, rows["low"], rows["high"], color=style.PALETTE[0], linewidth=0.8)
    filled = np.ones(len(names), bool) if filled is None else np.asarray(filled)
    inner = [style.PALETTE[0] if each else "white" for each in filled]
    axes.scatter(rows["value"], places, s=16, color=inner, edgecolor=style.PALETTE[0], linewidth=0.8, zorder=2)
    axes.set_yticks(places, names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", linewidth=0.3)


def flat(value: object, name: str = "") -> dict[str, str]:
    """Nested settings as one level: {"a": {"b": 1}} to {"a.b": "1"}."""
    if not isinstance(value, dict):
        return {name: json.dumps(value)}
    parts = (flat(each, f"{name}.{key}" if name else key) for key, each in value.items())
    return {key: text for part in parts for key, text in part.items()}


def rounded(table: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
    """A table with its fractions as text, as the paper writes them: a dash for none, no zero below zero."""
    return table.map(lambda cell: number(cell, Format(digits)) if isinstance(cell, float) else cell)


def show(figure: Figure, text: str):
    """A figure as an output of a cell, with a text for those who cannot see it."""
    from IPython.display import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, metadata={"Software": None})
    plt.close(figure)
    return Image(drawn.getvalue(), format="png", width=round(figure.get_figwidth() * SCREEN), alt=text)


def execute(
    notebook: Input,
    executed: Output,
    html: Output,
    *,
    results: Path | None = None,
    first: Path | None = None,
    second: Path | None = None,
) -> dict:
    """Execute a notebook on a run (results) or on two (first, second), as its parameters cell names them.

    executed: the notebook with its outputs; html: its page, which loads nothing. What a cell writes to the standard
    error (bars, warnings) goes to that of the step: it is not the same twice.
    Raises UserError where a cell does, with the notebook, the cell and the error.
    """
    given = {"results": results, "first": first, "second": second}
    parameters = {name: str(path) for name, path in given.items() if path is not None}
    source = nbformat.read(notebook, as_version=4)
    if parameters.keys() != (wanted := parameters_of(source)):
        raise UserError(f"{notebook} takes {', '.join(sorted(wanted)) or 'nothing'}; give these, and nothing else")
    with tempfile.TemporaryDirectory() as place:
        done = run_cells(source, notebook, parameters, Path(place))
    clean(done)
    nbformat.write(done, executed)
    html.write_text(page(done, notebook.stem), encoding="utf-8")
    return {"cells": len(done.cells)}


def parameters_of(notebook: nbformat.NotebookNode) -> set[str]:
    """The names that the cell tagged `parameters` gives values to."""
    cells = [cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    lines = [line for source in cells for line in ast.parse(source).body]
    return {target.id for line in lines if isinstance(line, ast.Assign) for target in line.targets}


def run_cells(
    source: nbformat.NotebookNode, notebook: Path, parameters: dict[str, str], place: Path
) -> nbformat.NotebookNode:
    """The notebook as papermill leaves it; `place` is an empty folder for what IPython keeps."""
    import papermill
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    class ThisInterpreter(AsyncKernelManager):
        """A kernel of this interpreter: none has to be registered, and no other of that name is taken."""

        kernel_spec = KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            env={"PYTHONPATH": str(PACKAGE.parent), "OMP_NUM_THREADS": "1", "IPYTHONDIR": str(place)},
            language="python",
        )

        def __init__(self, **settings):
            # Sockets of this machine's file system: no port is open, and nothing is left in the home folder.
            super().__init__(transport="ipc", connection_file=str(place / "kernel.json"), **settings)

    try:
        done = papermill.execute_notebook(
            source,
            None,
            parameters,
            kernel_name="python3",
            progress_bar=False,
            stderr_file=sys.stderr,
            kernel_manager_class=ThisInterpreter,
            coalesce_streams=True,
        )
    except PapermillExecutionError as error:
        print(error, file=sys.stderr)
        cell = next((cell.id for cell in source.cells if cell.source == error.source), "injected-parameters")
        fault = error.evalue if error.ename == "UserError" else f"{error.ename}: {error.evalue}"
        raise UserError(f"{notebook}, cell {cell}: {fault}") from None
    except DeadKernelError as error:
        raise UserError(f"{notebook}: its kernel died, perhaps of too little memory ({error})") from error
    return done


def clean(notebook: nbformat.NotebookNode) -> None:
    """Remove what differs between two executions: times, random identifiers, what went to the standard error."""
    kept = {"kernelspec", "language_info"}
    notebook.metadata = nbformat.from_dict({key: notebook.metadata[key] for key in kept & notebook.metadata.keys()})
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if "injected-parameters" in tags:
            cell.id = "injected-parameters"
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]


def page(notebook: nbformat.NotebookNode, name: str) -> str:
    """The notebook as one HTML page without a script or a link to load."""
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter
    from traitlets.config import Config

    # The values of this execution stand in the cell after the parameters.
    config = Config(TagRemovePreprocessor={"remove_cell_tags": {"parameters"}})
    exporter = HTMLExporter(config=config, template_name="basic", raw_template=PAGE, exclude_anchor_links=True)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    highlighting = HtmlFormatter(style="default").get_style_defs(".highlight")
    text, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": name}, "highlighting": highlighting})
    return text


PAGE = """{%- extends "basic/index.html.j2" -%}
{% block header %}<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ resources.metadata.name }}</title>
<style>{{ resources.highlighting }}
body {font: 15px/1.5 sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; color: #222}
pre, code {font: 13px/1.45 monospace}
pre {margin: 0; overflow-x: auto}
.output_area pre {white-space: pre-wrap}
.cell {margin: 0 0 1rem}
.input_area {background: #f6f6f6; border-left: 3px solid #bbb; padding: .5rem .8rem; margin-bottom: .5rem}
.output_area {margin: .5rem 0; overflow-x: auto}
.output_html table {border-collapse: collapse; font-size: 13px}
td, th {padding: 2px 10px; text-align: right; vertical-align: top}
tbody tr:nth-child(odd) {background: #f6f6f6}
thead th {border-bottom: 1px solid #888}
img {max-width: 100%}
</style></head><body><main>{% endblock %}
{% block data_png %}
<img src="data:image/png;base64,{{ output.data['image/png'] }}"
 width="{{ output | get_metadata('width', 'image/png') }}"
 alt="{{ output | get_metadata('alt', 'image/png') | escape_html }}">{% endblock %}
{% block footer %}</main></body></html>{% endblock %}
"""


if __name__ == "__main__":
    step(execute)
