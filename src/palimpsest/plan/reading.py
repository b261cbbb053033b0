"""Reading a configuration: files in which a key stands once, and values that are what the schema asks for."""

import copy
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from palimpsest.errors import UserError

# jsonschema reads a grammar of addresses for 3 s where this package is installed; no schema here asks for the format.
sys.modules.setdefault("rfc3987_syntax", None)

MERGE = "tag:yaml.org,2002:merge"
TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minItems": "at least {} in number",
    "maxItems": "at most {} in number",
    "minProperties": "at least {} keys",
    "minLength": "at least {} characters",
    "pattern": "matching {}",
}


def read_yaml(path: Path) -> dict:
    """The mapping that a YAML file holds.

    A UserError names file and line of what is not YAML, and file, key and both lines of a key that a mapping holds
    twice, of which YAML's reader would keep the last one in silence. A key beside a merged one (`<<`) replaces it.
    """
    loader = yaml.CSafeLoader(path.read_bytes())
    try:
        node = loader.get_single_node()
        _refuse_repeated_keys(path, loader, node, (), set())
        value = loader.construct_document(node) if node else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark else path
        raise UserError(f"{place} is no YAML: {getattr(error, 'problem', None) or error}") from error
    finally:
        loader.dispose()
    if not isinstance(value, dict):
        raise UserError(f"{path} holds {'nothing' if value is None else _shown(value)} where keys are expected")
    return value


def _refuse_repeated_keys(path, loader, node, place, seen) -> None:
    """Look through a composed node, in which nothing is merged yet; what an alias repeats is looked through once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _refuse_repeated_keys(path, loader, item, (*place, number), seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[Any, int] = {}
        for key, value in node.value:
            name = key.value
            if key.tag != MERGE and isinstance(key, yaml.ScalarNode):
                # Compared as Python compares what they mean: 1 and 0x1 are one key.
                name, line = loader.construct_object(key), key.start_mark.line + 1
                if name in lines:
                    raise UserError(
                        f"{path}: the key {_dotted((*place, name))} stands in lines {lines[name]} and {line}; keep one"
                    )
                lines[name] = line
            _refuse_repeated_keys(path, loader, value, (*place, name), seen)


def validated(config: dict, schema: Path, sources: Iterable[tuple[str, dict]] = (), place: Sequence[str] = ()) -> dict:
    """A copy of a configuration that a JSON schema holds for: defaults filled in, 20.0 as 20 where an integer is due.

    place: the keys below which it stands in the whole configuration. sources: what the whole one was put together from,
    each with its name; later ones win. A UserError says in one line which key is wrong, its value, what is allowed, and
    the source that it came from.
    """
    from jsonschema.exceptions import best_match

    config = copy.deepcopy(config)
    validator = _validator(read_yaml(schema))
    while whole := [error for error in _all(validator.iter_errors(config)) if _is_whole(error)]:
        for error in whole:
            *keys, last = error.absolute_path
            _at(config, keys)[last] = int(error.instance)
    error = best_match(validator.iter_errors(config))
    if error is not None:
        keys, fault = _fault(config, error)
        names = [name for name, source in sources if _has(source, (*place, *keys))]
        origin = f" ({names[-1]})" if names else ""
        raise UserError(f"{_dotted((*place, *keys)) or 'the configuration'} {fault}{origin}")
    return config


def _validator(schema: dict):
    """A validator that fills in defaults, as Snakemake's does, and for which a float is no integer."""
    from jsonschema import Draft202012Validator, validators

    def properties(validator, properties, instance, schema):
        if isinstance(instance, dict):
            for name, row in properties.items():
                if "default" in row:
                    instance.setdefault(name, copy.deepcopy(row["default"]))
        yield from Draft202012Validator.VALIDATORS["properties"](validator, properties, instance, schema)

    def is_integer(_, value) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", is_integer)
    return validators.extend(Draft202012Validator, {"properties": properties}, type_checker=types)(schema)


def _all(errors) -> Iterator:
    """Errors, and those within them: of each alternative that does not hold."""
    for error in errors:
        yield error
        yield from _all(error.context)


def _is_whole(error) -> bool:
    """Whether an integer is due where a float without a fraction stands."""
    due = error.validator == "type" and "integer" in _listed(error.validator_value)
    return due and isinstance(error.instance, float) and error.instance.is_integer()


def _fault(config: dict, error) -> tuple[tuple, str]:
    """The key of an error, as a path, and what is wrong with it."""
    keys, value, schema = tuple(error.absolute_path), error.instance, error.schema
    if error.validator == "additionalProperties" and schema["additionalProperties"] is False:
        unknown = next(name for name in value if name not in schema.get("properties", {}))
        return (*keys, unknown), f"is an unknown key; the keys there are {', '.join(sorted(schema['properties']))}"
    if error.validator == "required":
        missing = next(name for name in schema["required"] if name not in value)
        return (*keys, missing), f"is missing; the keys there must be are {', '.join(schema['required'])}"
    allowed = _allowed(schema)
    expected = f"allowed is {allowed}" if allowed else error.message[:200]
    if _at(config, keys) is not value:  # a key, not what stands under it
        return (*keys, value), f"is no name for a key; {expected}"
    return keys, f"is {_shown(value)}; {expected}"


def _allowed(schema: dict) -> str:
    """What a schema asks of a value, in words; empty where it asks for something that has none here."""
    parts = []
    if "type" in schema:
        parts.append(" or ".join(TYPES[name] for name in _listed(schema["type"])))
    if "enum" in schema:
        parts.append(f"one of {', '.join(map(_shown, schema['enum']))}")
    parts += [words.format(schema[name]) for name, words in LIMITS.items() if name in schema]
    if schema.get("uniqueItems"):
        parts.append("each entry once")
    if "required" in schema:
        parts.append(f"with {', '.join(schema['required'])}")
    alternatives = [_allowed(part) for name in ("oneOf", "anyOf") for part in schema.get(name, [])]
    return ", ".join([*parts, *([" or ".join(alternatives)] if all(alternatives) and alternatives else [])])


def _listed(value) -> list:
    return value if isinstance(value, list) else [value]


def _shown(value) -> str:
    """A value as JSON, cut after 80 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _dotted(keys) -> str:
    return ".".join(map(str, keys))


def _at(value, keys):
    """What stands under a path of keys and numbers."""
    for key in keys:
        value = value[key]
    return value


def _has(value, keys) -> bool:
    try:
        _at(value, keys)
    except (LookupError, TypeError):
        return False
    return True
