"""Where the module of a method is, found from files: nothing is imported, so planning needs no torch."""

from pathlib import Path

from palimpsest.errors import UserError

PACKAGE = Path(__file__).resolve().parent.parent

SHARED = "unlearning"


def method_module(family: str, name: str) -> str:
    """The dotted name of a method's module: the family's own if it has one, else the shared one.

    Raises UserError, with the methods there are, where neither has it.
    """
    for owner in (family, SHARED):
        if name.isidentifier() and not name.startswith("_") and (PACKAGE / owner / "methods" / f"{name}.py").is_file():
            return f"palimpsest.{owner}.methods.{name}"
    raise UserError(
        f"method {name}: there is neither src/palimpsest/{family}/methods/{name}.py nor "
        f"src/palimpsest/{SHARED}/methods/{name}.py. {family} has {', '.join(methods_of(family))}."
    )


def methods_of(family: str) -> list[str]:
    """Names of all methods that a family can use, its own and the shared ones, in alphabetical order."""
    files = (path for owner in (family, SHARED) for path in (PACKAGE / owner / "methods").glob("[a-z]*.py"))
    return sorted({path.stem for path in files})
