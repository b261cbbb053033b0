"""The code of a step as an input of its job: the module and every module of the package that it imports."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from palimpsest.errors import UserError

if TYPE_CHECKING:
    from grimp import ImportGraph

# As Snakemake sees it, from the checkout that it runs in.
SOURCE = Path("src")


@lru_cache
def import_graph() -> "ImportGraph":
    """Which module of the package imports which."""
    import grimp  # only where a workflow is run: notebooks ask a plan too

    return grimp.build_graph("palimpsest", cache_dir=".snakemake/grimp")


@lru_cache
def files_of(module: str) -> list[str]:
    """A module's file and those of every module of the package that it imports, transitively."""
    graph = import_graph()
    if module not in graph.modules:
        raise UserError(f"{module} is configured but {SOURCE}/{module.replace('.', '/')}.py does not exist")
    files = (SOURCE / Path(*name.split(".")) for name in {module, *graph.find_upstream_modules(module)})
    return sorted(str(path / "__init__.py" if path.is_dir() else path.with_suffix(".py")) for path in files)


def code_of(*modules: str) -> list[str] | Callable:
    """The code of a step as an input; a name such as palimpsest.lcr.rules.{rule} is filled from the wildcards."""
    if not any("{" in module for module in modules):
        return [path for module in modules for path in files_of(module)]
    return lambda wildcards: [path for module in modules for path in files_of(module.format(**wildcards))]
