"""What a table or figure of the paper is made from: what its module asks for, and what the experiment has of it.

A module of palimpsest.<family>.tables or palimpsest.<family>.figures asks in literals, which are read without importing
it (no plan waits for matplotlib):

    MEASUREMENTS = ("comparison", "networks")
    INPUTS = ("<results>/instance/{model}/reference/reference.npz",)
    PARAMS = {"models": None, "methods": ["unpromptable", "siss"], "pictures": 12}

MEASUREMENTS: groups of the family's measurement files. INPUTS: further files; {model} stands for each of the `models`,
{first_model} for the first, {main_preset} for a single value. PARAMS: all that it is given, so that a change of
anything else redraws nothing. None stands for the family's own value, or for one that the configuration has to give;
any other value is a default. The configuration's own values, `report.<family>.<kind>.<name>`, win. A list of names
narrows the family's list or mapping of that name: what an experiment leaves out is left out everywhere.
"""

import ast
import re
from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from palimpsest.errors import UserError

FIELD = re.compile(r"\{(\w+)\}")


class Request(NamedTuple):
    """What a module asks for."""

    measurements: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    params: Mapping[str, Any] = {}


class Part(NamedTuple):
    """What a table or figure gets: paths of measurements, paths of further files, parameters."""

    measurements: list[str]
    inputs: list[str]
    params: dict[str, Any]


def part(
    source: str,
    key: str,
    lists: Mapping[str, Any],
    groups: Mapping[str, list[str]],
    given: Mapping[str, Any],
    dropped: Set[str] = frozenset(),
) -> Part:
    """What the table or figure with this source gets; raises UserError, with its key, for what does not fit.

    key: its place in the configuration, `report.lcr.figures.panels`. lists, groups: of its family's plan. given: the
    configuration's values at its key. dropped: names that the experiment removes.
    """
    wanted = request(source, key)
    params = chosen_params(wanted.params, key, lists, given, dropped)
    measurements = measurement_files(wanted.measurements, key, groups, dropped)
    return Part(measurements, input_files(wanted.inputs, key, {**lists, **params}), params)


def request(source: str, key: str) -> Request:
    """The literals of a module's source; raises UserError where one of them is no literal."""
    found = {}
    for node in ast.parse(source).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="MEASUREMENTS" | "INPUTS" | "PARAMS" as name)]):
                try:
                    found[name.lower()] = ast.literal_eval(node.value)
                except ValueError as error:
                    raise UserError(f"{key}: {name} in its module is to be a plain literal ({error})") from error
    return Request(**found)


def chosen_params(
    declared: Mapping[str, Any], key: str, lists: Mapping[str, Any], given: Mapping[str, Any], dropped: Set[str]
) -> dict[str, Any]:
    """A value for every declared parameter: the configuration's, the module's default, or the family's."""
    if unknown := given.keys() - declared.keys():
        raise UserError(f"{key} has no parameter {sorted(unknown)[0]!r}; it has {sorted(declared)}")
    for name in sorted(given):
        known = lists.get(name)
        names = given[name] if isinstance(given[name], list) and isinstance(known, list | dict) else []
        if unknown := {value for value in names if value not in known} - dropped:
            raise UserError(f"{key} has {name} {sorted(unknown)}; there are {sorted(known)}")
    params = {}
    for name, default in declared.items():
        value = given.get(name, default)
        if value is None and name not in lists:
            raise UserError(f"{key} needs {name}, which neither the family nor the configuration gives")
        params[name] = lists[name] if value is None else narrowed(value, lists.get(name))
    return params


def narrowed(value: Any, known: Any) -> Any:
    """The names of `value` that the family's list has, or its mapping without the others; any other value as it is."""
    if isinstance(value, list) and isinstance(known, dict):
        return {name: known[name] for name in value if name in known}
    if isinstance(value, list) and isinstance(known, list):
        return [name for name in value if name in known]
    return value


def measurement_files(names: tuple[str, ...], key: str, groups: Mapping[str, list[str]], dropped: Set[str]) -> list:
    """The files of the groups, without those of groups that the experiment removes."""
    for name in names:
        if name not in groups and name not in dropped:
            raise UserError(
                f"{key} reads the measurements {name!r}, which the family does not have here; there are "
                f"{sorted(groups)}. Leave it out, with null"
            )
    files = [path for name in names for path in groups.get(name, [])]
    if names and not files:
        raise UserError(f"{key} has nothing to be made from: there are no measurements of {' or '.join(names)}. {OUT}")
    return files


def input_files(templates: tuple[str, ...], key: str, values: Mapping[str, Any]) -> list[str]:
    """The paths that the templates stand for. Those of one model stay together, after those of all."""
    per_model = [template for template in templates if "{model}" in template]
    lines = [(template, values) for template in templates if template not in per_model]
    for model in values["models"] if per_model else []:
        lines += [(template, {**values, "models": [model]}) for template in per_model]
    paths = []
    for template, here in lines:
        found = filled(template, key, here)
        if not found:
            raise UserError(f"{key} has nothing to be drawn from: there is no file {template} here. {OUT}")
        paths += found
    return paths


OUT = "Leave it out, with null, and a table or figure of that name too"


def filled(template: str, key: str, values: Mapping[str, Any]) -> list[str]:
    """A path for every combination of the values that the template's fields stand for."""
    field = next((name for name in FIELD.findall(template)), None)
    if field is None:
        return [template]
    return [
        path
        for value in values_of(field, key, values)
        for path in filled(template.replace(f"{{{field}}}", value), key, values)
    ]


def values_of(field: str, key: str, values: Mapping[str, Any]) -> list[str]:
    """What a field stands for: the members of a list or mapping, the first one, or a single text."""
    first = field.startswith("first_")
    several = values.get(f"{field.removeprefix('first_')}s")
    if isinstance(several, list | dict):
        members = list(several.values() if isinstance(several, dict) else several)
        return members[:1] if first else members
    if isinstance(values.get(field), str):
        return [values[field]]
    raise UserError(f"{key}: {{{field}}} in its INPUTS stands for nothing that the family lists: {sorted(values)}")
