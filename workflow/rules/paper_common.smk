# What the rules of the report share: which tables and figures there are, and what they are made from.
import ast
from types import SimpleNamespace

from palimpsest.plan import report as parts_of_report
from palimpsest.plan.code import files_of, import_graph

setting, is_procedural, is_rehearsal = sources.setting, sources.is_procedural, sources.is_rehearsal


def families():
    """The paper's families, each with the models it compares."""
    return {name: setting(name, "models") for name in setting("families")}


def in_order(given):
    """A parameter's text on the command line where the order counts: that of the paper's parts."""
    return json.dumps(given)


def report_of(family, kind):
    """The tables or figures of a family: name to settings."""
    return setting("report", family, kind)


def parts(kind, suffix):
    """The files of all tables or figures."""
    return [
        f"<results>/paper/{kind}/{family}_{name}.{suffix}" for family in families() for name in report_of(family, kind)
    ]


def measurements_of(family):
    """Every measurement file of a family."""
    return [path for files in plans[family].groups().values() for path in files]


def collections():
    """The measurements of each family, in the paper's order."""
    return [f"<results>/{family}/measurements.parquet" for family in families()]


def part_of(wildcards, kind):
    """What a table or figure is made from."""
    family, name = wildcards.family, wildcards.name
    files_of(f"palimpsest.{family}.{kind}.{name}")
    source = Path(SOURCE, "palimpsest", family, kind, f"{name}.py").read_text(encoding="utf-8")
    plan, given = plans[family], report_of(family, kind)[name]
    return parts_of_report.part(source, f"report.{family}.{kind}.{name}", plan.lists(), plan.groups(), given, DROPPED)


def names_modules():
    """The modules with the families' names for their identifiers."""
    return [f"palimpsest.{name}.names" for name in families()]


def can_typeset():
    """Whether this machine has LaTeX; without it the run makes everything but the PDF, and says so."""
    return shutil.which("latexmk") is not None


def modules_in(name):
    """The modules of the package that a notebook's cells import."""
    cells = json.loads(Path(f"notebooks/{name}.ipynb").read_text())["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in ast.parse("".join(cell["source"])).body]
    imports = [(line.module, part.name) for line in lines if isinstance(line, ast.ImportFrom) for part in line.names]
    named = {f"{package}.{part}" for package, part in imports} | {package for package, part in imports}
    return sorted(named & import_graph().modules - {"palimpsest"})


def collected(experiment):
    """What a finished run has."""
    return [
        f"results/{experiment}/paper/{name}" for name in ("measurements.parquet", "verdicts.parquet", "provenance.json")
    ]


def paper_targets():
    """What the main job makes."""
    wanted = [*parts("tables", "html"), *parts("figures", "png"), "<results>/paper/scorecard.html"]
    wanted += ["<results>/paper/provenance.html", *(f"<results>/notebooks/{name}.html" for name in families())]
    return [*wanted, *(["<results>/paper/paper.pdf"] if can_typeset() else [])]


for family in families():
    for kind in ("tables", "figures"):
        for name in report_of(family, kind):
            part_of(SimpleNamespace(family=family, name=name), kind)

if not can_typeset():
    logger.warning(
        "latexmk is not installed: everything but the PDF is made. To have it too: sudo apt-get install"
        " --no-install-recommends latexmk texlive-latex-base texlive-latex-recommended lmodern"
    )
