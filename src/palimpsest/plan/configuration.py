"""One configuration out of its parts.

An experiment is a YAML file. Its key `compose` lists the files that it stands on, relative to itself; its own keys are
merged over theirs, and a null removes a key. A file without `compose` stands on what was given before it, the first
one on the default experiment.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from palimpsest.errors import UserError

DEFAULT = "config/mini.yaml"
CATALOGUES = ("config/models.yaml", "config/datasets.yaml")


def composed(root: Path, files: Iterable[Path], given: dict) -> dict:
    """The configuration of a run: catalogues, the default experiment or `files` in their order, single values.

    root: the checkout. given: what the command line says; its values come last. Nulls are still in it.
    """
    config: dict = {}
    for name in CATALOGUES:
        merge(config, read(root / name))
    named = [Path(file) for file in files]
    if not named or "compose" not in read(named[0]):
        merge(config, with_parts(root / DEFAULT))
    for file in named:
        merge(config, with_parts(file))
    merge(config, given)
    return config


def with_parts(file: Path, above: tuple[Path, ...] = ()) -> dict:
    """A file's keys over those of the files that it is composed of."""
    path = file.resolve()
    if path in above:
        raise UserError(f"{file} is composed of itself: {' > '.join(each.name for each in (*above, path))}")
    own, config = read(file), {}
    for part in own.pop("compose", []):
        if not (path.parent / part).is_file():
            raise UserError(f"{file}: compose names {part}, and there is no such file beside it")
        merge(config, with_parts(path.parent / part, (*above, path)))
    merge(config, own)
    return config


def read(file: Path) -> dict:
    """A YAML file that holds a mapping."""
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected keys and values, found a {type(content).__name__}")
    return content


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
