"""What a family has to bring: everything that is missing is said at once, before anything runs.

docs/adding_a_family.md says how each part is written.
"""

import ast
from importlib import import_module
from pathlib import Path

from palimpsest.errors import UserError
from palimpsest.plan.base import Family
from palimpsest.plan.reading import read_yaml


def known_families(root: Path) -> set[str]:
    """The families that there are: each is known by its schema, workflow/schemas/<family>.schema.yaml."""
    schemas = (root / "workflow/schemas").glob("*.schema.yaml")
    return {path.name.removesuffix(".schema.yaml") for path in schemas} - {"config"}


def refuse_unknown_keys(config: dict, families: set[str]) -> None:
    """Raise UserError where a key of the configuration is neither shared nor a family's."""
    shared = {"experiment", "base_models", "families", "datasets", "networks", "detectors", "report"}
    shared |= {"checkpoints", "collections"}
    for name in sorted(set(config) - shared - families):
        raise UserError(f"the configuration has an unknown key {name!r}; families are {sorted(families)}")
    for name in sorted({*config["families"], *config["report"]} - (families & set(config))):
        raise UserError(f"families or report name {name!r}, which the configuration has no settings for")


def missing(root: Path, config: dict, family: str) -> list[str]:
    """What a family lacks: files of the checkout, entries of the configuration, names in its modules."""
    return [*missing_files(root, family), *missing_names(root, family), *missing_entries(root, config, family)]


def missing_files(root: Path, family: str) -> list[str]:
    """Files that are not there."""
    wanted = {
        f"workflow/schemas/{family}.schema.yaml": "the schema of its part of the configuration",
        f"workflow/rules/{family}.smk": "its rules",
        f"src/palimpsest/plan/{family}.py": "its plan",
        f"src/palimpsest/{family}/__init__.py": "its package",
        f"src/palimpsest/{family}/names.py": "how the paper writes its identifiers",
        f"paper/sections/{family}.tex": "its section of the paper",
        f"notebooks/{family}.ipynb": "its notebook",
    }
    return [f"{path} ({what})" for path, what in wanted.items() if not (root / path).is_file()]


def missing_names(root: Path, family: str) -> list[str]:
    """Names that its modules do not define; of files that are there."""
    wanted = {
        f"src/palimpsest/plan/{family}.py": {family.capitalize(): "a class, its plan"},
        f"src/palimpsest/{family}/names.py": {
            "NAMES": "identifier to name",
            "DEFAULTS": "labels that are meant where none is given",
            "name_of": "a function, the name of an identifier",
        },
    }
    found = []
    for path, names in wanted.items():
        if (root / path).is_file():
            defined = defined_in(root / path)
            found += [f"{name} in {path} ({what})" for name, what in names.items() if name not in defined]
    return found


def defined_in(module: Path) -> set[str]:
    """The names that a module defines at its top level, read without running it."""
    names = set()
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def missing_entries(root: Path, config: dict, family: str) -> list[str]:
    """Entries of the configuration, modules of the tables and figures that it names, and claims."""
    found = [] if family in config else [f"{family}: in the configuration (config/families/{family}.yaml)"]
    report = config.get("report", {}).get(family)
    if report is None:
        found.append(f"report.{family}: in the configuration (the tables and figures of the paper)")
    for kind, names in (report or {}).items():
        modules = {name: f"src/palimpsest/{family}/{kind}/{name}.py" for name in names}
        found += [
            f"{path} (report.{family}.{kind}.{name})" for name, path in modules.items() if not (root / path).is_file()
        ]
    claims = root / f"config/claims/{family}.yaml"
    if not claims.is_file() or not read_yaml(claims).get("claims"):
        found.append(f"config/claims/{family}.yaml (at least one claim of its source)")
    return found


def complete_plans(root: Path, config: dict) -> dict[str, Family]:
    """The plan of each family of the experiment, in the paper's order; raises UserError with all that one lacks."""
    for family in config["families"]:
        if lacks := missing(root, config, family):
            raise UserError(
                f"the family {family!r} is not complete, see docs/adding_a_family.md; it lacks {'; '.join(lacks)}"
            )
    classes = {
        name: getattr(import_module(f"palimpsest.plan.{name}"), name.capitalize()) for name in config["families"]
    }
    return {name: plan(config) for name, plan in classes.items()}
