"""One configuration out of its parts.

An experiment is a YAML file. Its key `compose` lists the files that it stands on, relative to itself; its own keys are
merged over theirs, and a null removes a key. A file without `compose` stands on what was given before it, the first
one on the default experiment.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from palimpsest.errors import UserError
from palimpsest.plan.reading import read_yaml

DEFAULT = "config/mini.yaml"
CATALOGUES = ("config/models.yaml", "config/datasets.yaml")


def parts(root: Path, files: Iterable[Path], given: dict) -> list[tuple[str, dict]]:
    """What a configuration is made of, by name; later ones win: catalogues, files with their parts, single values.

    root: the checkout. files: of the command line, in their order. given: its single values, which come last.
    """
    found = [(name, read_yaml(root / name)) for name in CATALOGUES]
    named = [Path(file) for file in files]
    if not named or "compose" not in read_yaml(named[0]):
        named.insert(0, root / DEFAULT)
    return [*found, *(part for file in named for part in with_parts(file)), ("--config", dict(given))]


def with_parts(file: Path, above: tuple[Path, ...] = ()) -> list[tuple[str, dict]]:
    """The files that a file is composed of, by name, and then itself."""
    path = file.resolve()
    if path in above:
        raise UserError(f"{file} is composed of itself: {' > '.join(each.name for each in (*above, path))}")
    here = Path.cwd()
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    own, found = read_yaml(shown), []
    for part in own.pop("compose", []):
        if not (path.parent / part).is_file():
            raise UserError(f"{file}: compose names {part}, and there is no such file beside it")
        found += with_parts(path.parent / part, (*above, path))
    return [*found, (str(shown), own)]


def merged(parts: Iterable[tuple[str, dict]]) -> dict:
    """One configuration of all parts; nulls are still in it."""
    config: dict = {}
    for _, content in parts:
        merge(config, content)
    return config


def merge(below: dict, above: dict) -> None:
    """Put the keys of one configuration over those of another, in place: mappings are merged, all else replaced."""
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            merge(below[key], value)
        else:
            below[key] = unshared(value)


def unshared(value: Any) -> Any:
    """A copy in which what YAML's anchors share stands once for each place: a change of one is none of the others."""
    if isinstance(value, dict):
        return {key: unshared(each) for key, each in value.items()}
    return [unshared(each) for each in value] if isinstance(value, list) else value


def without_nulls(row: dict) -> set[str]:
    """Remove, in place, the keys that a configuration sets to null; gives their names."""
    removed = {key for key, value in row.items() if value is None}
    for key in removed:
        del row[key]
    return removed.union(*(without_nulls(value) for value in row.values() if isinstance(value, dict)))


def setting(config: dict, *keys: str) -> Any:
    """A value of the configuration; the error names the first key that is not there."""
    value = config
    for depth, key in enumerate(keys):
        if not isinstance(value, dict) or key not in value:
            place = ".".join(map(str, keys[: depth + 1]))
            raise UserError(f"the configuration has no {place} (experiment {config.get('experiment')})")
        value = value[key]
    return value
