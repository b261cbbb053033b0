"""Options of steps that travel inside JSON or are given by hand: their names, types and ranges, checked at the door.

What an option may be is said once, by its annotation: `Literal["rgb", "bgr"]`, `list[Positive]`, `Share`.
`palimpsest.run` checks each argument of a step by it; what a JSON argument holds is checked by the step (`check`).
"""

import inspect
import math
import typing
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, is_typeddict

from palimpsest.errors import UserError

PACKAGE = Path(__file__).resolve().parent

# An annotation's second part says in words what its third part tests.
Positive = Annotated[int, "a whole number from 1 on", lambda value: value >= 1]
Count = Annotated[int, "a whole number from 0 on", lambda value: value >= 0]
Share = Annotated[float, "a number from 0 to 1", lambda value: 0 <= value <= 1]
Size = Annotated[float, "a number from 0 on", lambda value: value >= 0]
Amount = Annotated[float, "a number greater than 0", lambda value: value > 0]


def check(target: Callable, given: dict, place: str) -> None:
    """Raise a UserError unless `given` are options of the target, complete and each of its type (`check_types`).

    target: a TypedDict, or a function that takes the options by keyword: those after its `*`, or else those with a
    default. place: what the options are of, for the message.
    """
    hints = typing.get_type_hints(target, include_extras=True)
    known = options_of(target)
    if unknown := [name for name in given if name not in known]:
        raise UserError(f"{place}: no option {', '.join(unknown)}; there are {', '.join(known) or 'none'}. Correct it.")
    if missing := [name for name, required in known.items() if required and name not in given]:
        raise UserError(f"{place}: the option {', '.join(missing)} is missing. Give {given_as(hints[missing[0]])}.")
    check_types(target, given, place)


def check_types(target: Callable, given: dict, place: str) -> None:
    """Raise a UserError unless each of `given` is of the type that the target's annotation of its name says.

    In place, 20.0 becomes 20 where a whole number is due: who writes JSON or YAML may write either. Names are not
    checked: a call with a wrong one fails by itself.
    """
    hints = typing.get_type_hints(target, include_extras=True)
    for name in given.keys() & hints.keys():
        given[name] = whole(given[name], hints[name])
    for name, value in given.items():
        if name in hints and not fits(value, hints[name]):
            raise UserError(f"{place}: {name} is {value!r}. Give {given_as(hints[name])}.")


def options_of(target: Callable) -> dict[str, bool]:
    """The options' names, and whether they have to be given."""
    if is_typeddict(target):
        return {name: name in target.__required_keys__ for name in target.__annotations__}
    parameters = inspect.signature(target).parameters.values()
    keyword = [each for each in parameters if each.kind is each.KEYWORD_ONLY]
    chosen = keyword or [each for each in parameters if each.default is not each.empty]
    return {each.name: each.default is each.empty for each in chosen}


def choice(value: str, hint: Any, name: str) -> None:
    """Raise a UserError unless a value is one that a Literal lists."""
    if not fits(value, hint):
        raise UserError(f"{name} is {value!r}. Give {given_as(hint)}.")


def whole(value: Any, hint: Any) -> Any:
    """A value, in which each float without a fraction that stands where a type asks for an integer is that integer."""
    origin, parts = get_origin(hint), get_args(hint)
    if fits(value, hint):
        return value
    if origin in (Annotated, NotRequired):
        return whole(value, parts[0])
    if origin in (Union, UnionType):
        return next((made for part in parts if fits(made := whole(value, part), part)), value)
    if origin in (list, tuple) and isinstance(value, list | tuple):
        types = _types_of_items(hint, len(value))
        if len(types) != len(value):  # does not fit, and nothing of it is to be lost
            return value
        return [whole(each, part) for each, part in zip(value, types, strict=True)]
    if origin is dict and isinstance(value, dict):
        return {key: whole(each, parts[1]) for key, each in value.items()}
    return int(value) if hint is int and isinstance(value, float) and value.is_integer() else value


def _types_of_items(hint: Any, count: int) -> list:
    """The types of the members of a list or tuple; `list[int]` and `tuple[int, ...]` have as many as are given."""
    parts = get_args(hint)
    return [parts[0]] * count if get_origin(hint) is list or parts[-1] is Ellipsis else list(parts)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value of JSON is of a type; a whole number is a float too, true is no number, NaN is none."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is NotRequired:
        return fits(value, parts[0])
    if origin is Annotated:
        return fits(value, parts[0]) and parts[2](value)
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is list:
        return isinstance(value, list | tuple) and len(value) > 0 and all(fits(each, parts[0]) for each in value)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        types = _types_of_items(hint, len(value))
        return len(value) == len(types) and all(map(fits, value, types))
    if origin is dict:
        return isinstance(value, dict) and all(fits(key, parts[0]) and fits(value[key], parts[1]) for key in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def given_as(hint: Any) -> str:
    """A type in words."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is NotRequired:
        return given_as(parts[0])
    if origin is Annotated:
        return parts[1]
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}" if len(parts) > 1 else repr(parts[0])
    if origin in (Union, UnionType):
        return " or ".join(given_as(part) for part in parts)
    if origin is list:
        return f"a list of one at least, each {given_as(parts[0])}"
    if origin is dict:
        return f"a mapping of {given_as(parts[0])} to {given_as(parts[1])}"
    if origin is tuple and parts[-1] is Ellipsis:
        return f"a list, each {given_as(parts[0])}"
    if origin is tuple:
        return f"a list of {' and '.join(given_as(part) for part in parts)}"
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(hint, f"a {getattr(origin or hint, '__name__', hint)}")


def module_of(package: str, name: str, *needed: str) -> ModuleType:
    """The module of palimpsest that an option names, such as a detector of `judges`; it has to have what is needed."""
    folder = Path(PACKAGE, *package.split(".")[1:])
    known = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
    if name not in known:
        raise UserError(f"{package} has no module {name!r}. Give one of {', '.join(known)}.")
    module = import_module(f"{package}.{name}")
    if not any(hasattr(module, each) for each in needed):
        raise UserError(f"{package}.{name} has no {' or '.join(needed)}, so it cannot serve here. Give another module.")
    return module
