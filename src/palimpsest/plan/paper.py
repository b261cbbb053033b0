"""The report: which tables and figures there are, what they are made from, and what the main job makes."""

import ast
import json
from collections.abc import Mapping, Set
from pathlib import Path

from palimpsest.plan import report
from palimpsest.plan.base import Family, Plan
from palimpsest.plan.code import SOURCE, files_of, import_graph

KINDS = ("tables", "figures")


class Paper(Plan):
    """The plan of the report, over the plans of the families."""

    def __init__(self, config: dict, plans: Mapping[str, Family], dropped: Set[str]):
        super().__init__(config)
        self.plans, self.dropped = plans, dropped

    def models(self) -> str:
        """The models that each family compares, as an argument; families in the paper's order."""
        return json.dumps({name: plan.models() for name, plan in self.plans.items()})

    def names_modules(self) -> list[str]:
        """The modules with the families' names for their identifiers."""
        return [f"palimpsest.{name}.names" for name in self.plans]

    def is_procedural(self) -> bool:
        """Whether models learned what is drawn, not photographed; sets that pictures are only compared with aside."""
        compared = {name for plan in self.plans.values() for name in plan.compared_sets()}
        learned = [row["world"] for name, row in self.config["datasets"].items() if name not in compared]
        return bool(learned) and "folder" not in learned

    # Measurements

    def measurements(self, family: str) -> list[str]:
        """Every measurement file of a family."""
        return [path for files in self.plans[family].groups().values() for path in files]

    def all_measurements(self) -> list[str]:
        """Every measurement file of the experiment."""
        return [path for family in self.plans for path in self.measurements(family)]

    def collections(self) -> list[str]:
        """The joined measurements of each family, in the paper's order."""
        return [f"<results>/{family}/measurements.parquet" for family in self.plans]

    # Tables and figures

    def entries(self, family: str, kind: str) -> dict[str, dict]:
        """The tables or figures of a family: name to the configuration's own values."""
        return self.setting("report", family, kind)

    def files(self, kind: str, suffix: str) -> list[str]:
        """The files of all tables or figures."""
        return [
            f"<results>/paper/{kind}/{family}_{name}.{suffix}"
            for family in self.plans
            for name in self.entries(family, kind)
        ]

    def part(self, family: str, kind: str, name: str) -> report.Part:
        """What a table or figure is made from."""
        files_of(f"palimpsest.{family}.{kind}.{name}")
        source = source_of(family, kind, name)
        plan, given = self.plans[family], self.entries(family, kind)[name]
        key = f"report.{family}.{kind}.{name}"
        return report.part(source, key, plan.lists(), plan.groups(), given, self.dropped)

    def about(self, family: str, kind: str, name: str) -> str:
        """What a table or figure shows, as its module says first."""
        return ast.get_docstring(ast.parse(source_of(family, kind, name))).splitlines()[0]

    # What the main job makes

    def targets(self, typeset: bool) -> list[str]:
        """The report's files; typeset: whether there is LaTeX here. Without it, all that the PDF is made from."""
        pages = [f"<results>/paper/{name}" for name in ("scorecard.html", "provenance.html", "numbers.tex")]
        pages += [f"<results>/notebooks/{name}.html" for name in self.plans]
        pdf = ["<results>/paper/paper.pdf"] if typeset else []
        return [*self.files("tables", "html"), *self.files("figures", "png"), *pages, *pdf]

    def edits(self) -> list[str]:
        """The tables of edited models of all families."""
        return [path for plan in self.plans.values() for path in plan.edits()]

    def check(self) -> None:
        """Raise UserError for a table or figure that has no module or nothing to be made from."""
        for family in self.plans:
            for kind in KINDS:
                for name in self.entries(family, kind):
                    self.part(family, kind, name)


def source_of(family: str, kind: str, name: str) -> str:
    """The module of a table or figure."""
    return Path(SOURCE, "palimpsest", family, kind, f"{name}.py").read_text(encoding="utf-8")


def collected(experiment: str) -> list[str]:
    """What a finished run has."""
    return [
        f"results/{experiment}/paper/{name}" for name in ("measurements.parquet", "verdicts.parquet", "provenance.json")
    ]


def modules_in(notebook: str) -> list[str]:
    """The modules of the package that a notebook's cells import."""
    cells = json.loads(Path(f"notebooks/{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in ast.parse("".join(cell["source"])).body]
    imports = [(line.module, part.name) for line in lines if isinstance(line, ast.ImportFrom) for part in line.names]
    named = {f"{package}.{part}" for package, part in imports} | {package for package, part in imports}
    return sorted(named & import_graph().modules - {"palimpsest"})
