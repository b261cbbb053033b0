"""Finding what a family brings to the report by name: its tables, its figures, its names."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, util
from types import ModuleType

from palimpsest.run import UserError


def part_of(family: str, kind: str, name: str) -> ModuleType:
    """The module palimpsest.<family>.<kind>.<name>, such as a table or figure."""
    path = f"palimpsest.{family}.{kind}.{name}"
    parent = f"palimpsest.{family}"
    if util.find_spec(parent) is None or util.find_spec(f"{parent}.{kind}") is None or util.find_spec(path) is None:
        raise UserError(f"no {kind[:-1]} {name!r}: expected src/{path.replace('.', '/')}.py (see config/README.md)")
    return import_module(path)


def optional_of(module: ModuleType) -> tuple[str, ...]:
    """The metrics that a table or figure asks for although an experiment may lack them."""
    return getattr(module, "OPTIONAL", ())


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Let an error of the input say which part of the report met it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{what}: {error}") from error


def name_of(family: str, word: str) -> str:
    """How the paper writes an identifier (a model, a rule): the family's name for it, else the word itself."""
    return getattr(_names(family), "NAMES", {}).get(word, word.replace("_", " "))


def defaults_of(family: str) -> dict[str, str]:
    """Labels that hold where none is given and a measurement has the label at all, such as the preset."""
    return getattr(_names(family), "DEFAULTS", {})


def _names(family: str) -> ModuleType | None:
    path = f"palimpsest.{family}.names"
    return import_module(path) if util.find_spec(path) else None
