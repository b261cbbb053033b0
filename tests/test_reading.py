"""Configuration files, in which a key stands once, and values that are what a schema asks for."""

import json
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT
from palimpsest.errors import UserError
from palimpsest.plan.reading import read_yaml, validated

FILES = [path for name in ("config", "workflow", "profiles", "paper") for path in (ROOT / name).rglob("*.yaml")]


@pytest.fixture
def file(tmp_path):
    """Writes a file, and gives its path."""

    def write(text: str, name: str = "mine.yaml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def message(call, *arguments, **more) -> str:
    """The one line with which a call refuses what it is given."""
    with pytest.raises(UserError) as caught:
        call(*arguments, **more)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_of_the_project_are_read_as_yaml_reads_them(path):
    assert read_yaml(path) == yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("a: 1\nb: 2\na: 3\n", "a", "1 and 3"),
        ("lcr:\n  rules:\n    fixed: {}\n    black: {}\n    fixed: {x: 1}\n", "lcr.rules.fixed", "3 and 5"),
        ("sets: [{n: 1}, {n: 1,\n n: 2}]\n", "sets.1.n", "1 and 2"),
        ("base: &base {n: 1}\nset: {<<: *base, m: 1, m: 2}\n", "set.m", "2 and 2"),
        ("base: &base {n: 1,\n n: 2}\nset: *base\n", "base.n", "1 and 2"),
        ("1: a\n0x1: b\n", "1", "1 and 2"),
        ("'on': a\nb: {true: 1}\n\"on\": b\n", "on", "1 and 3"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_lines(file, text, key, lines):
    path = file(text)
    assert message(read_yaml, path) == f"{path}: the key {key} stands in lines {lines}; keep one"


def test_a_merged_key_may_be_replaced(file):
    text = "one: &one {n: 1, m: 1}\ntwo: &two {<<: *one, n: 2}\nthree: {<<: *two, n: 3}\nfour: {<<: [*one, *two]}\n"
    assert read_yaml(file(text)) == {
        "one": {"n": 1, "m": 1},
        "two": {"n": 2, "m": 1},
        "three": {"n": 3, "m": 1},
        "four": {"n": 1, "m": 1},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: [1\n", "line 3 is no YAML"),
        ("a: !!python/object:os.system x\n", "line 1 is no YAML"),
        ("", "holds nothing where keys are expected"),
        ("- 1\n", "holds [1] where keys are expected"),
    ],
)
def test_what_is_no_configuration_is_refused(file, text, said):
    assert said in message(read_yaml, file(text))


keys = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | keys,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=10,
)


@given(content=st.dictionaries(keys, values, min_size=1, max_size=4))
def test_any_mapping_survives_writing_and_reading(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("survives") / "a.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    assert read_yaml(path) == content


COUNT = {"type": "integer", "minimum": 1}
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["steps"],
    "properties": {
        "steps": {"$ref": "#/$defs/count"},
        "rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "kind": {"enum": ["any", "half"]},
        "tops": {"type": "array", "minItems": 1, "uniqueItems": True, "items": COUNT, "default": [1]},
        "sizes": {"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": COUNT},
        "seed": {"type": ["integer", "null"]},
        "more": {"oneOf": [{"type": "object", "required": ["n"], "properties": {"n": COUNT}}, {"type": "string"}]},
        "inner": {"type": "object", "properties": {"n": {"type": "integer", "default": 3}}},
    },
    "$defs": {"count": COUNT},
}


@pytest.fixture
def schema(file):
    return file(yaml.safe_dump(SCHEMA), "schema.yaml")


def test_defaults_are_filled_in_a_copy_as_snakemake_fills_them(schema):
    from snakemake.utils import validate

    given = {"steps": 1, "inner": {}}
    expected = json.loads(json.dumps(given))
    validate(expected, str(schema))
    assert validated(given, schema) == expected == {**given, "inner": {"n": 3}, "tops": [1]}
    assert given == {"steps": 1, "inner": {}}


def test_whole_floats_become_integers_where_integers_are_asked_for(schema):
    given = {"steps": 20.0, "rate": 1.0, "tops": [1.0, 2], "sizes": {"a": 3.0}, "seed": 4.0, "more": {"n": 5.0}}
    made = validated(given, schema)
    assert json.dumps({key: made[key] for key in given}) == json.dumps(
        {"steps": 20, "rate": 1.0, "tops": [1, 2], "sizes": {"a": 3}, "seed": 4, "more": {"n": 5}}
    )
    assert given["steps"] == 20 and isinstance(given["steps"], float)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 20.5}, "steps is 20.5; allowed is an integer, at least 1"),
        ({"steps": 0}, "steps is 0; allowed is an integer, at least 1"),
        ({"steps": "many"}, 'steps is "many"; allowed is an integer, at least 1'),
        ({"steps": True}, "steps is true; allowed is an integer, at least 1"),
        ({"rate": 0}, "rate is 0; allowed is a number, more than 0, at most 1"),
        ({"kind": "most"}, 'kind is "most"; allowed is one of "any", "half"'),
        ({"tops": []}, "tops is []; allowed is a list, at least 1 in number, each entry once"),
        ({"tops": [1, 1.0]}, "tops is [1, 1]; allowed is a list, at least 1 in number, each entry once"),
        ({"tops": [1, "2"]}, 'tops.1 is "2"; allowed is an integer, at least 1'),
        ({"sizes": {"A": 1}}, "sizes.A is no name for a key; allowed is matching ^[a-z]+$"),
        ({"seed": "x"}, 'seed is "x"; allowed is an integer or null'),
        ({"more": 1}, "more is 1; allowed is a mapping, with n or text"),
        ({"more": {"n": 0}}, "more.n is 0; allowed is an integer, at least 1"),
        ({"stesp": 1}, "stesp is an unknown key; the keys there are inner, kind, more, rate, seed, sizes, steps, tops"),
        ({"inner": 5}, "inner is 5; allowed is a mapping"),
    ],
)
def test_a_fault_is_one_line_with_key_value_and_what_is_allowed(schema, change, said):
    assert message(validated, {"steps": 1, **change}, schema) == said


def test_a_missing_key_is_named(schema):
    assert message(validated, {}, schema) == "steps is missing; the keys there must be are steps"


def test_a_fault_names_the_last_source_that_has_the_key(schema):
    base = {"family": {"steps": 1, "kind": "any", "tops": [0]}}
    mine = {"family": {"steps": 0, "sizes": {"a": 0}}}
    sources = [("base.yaml", base), ("mine.yaml", mine), ("--config", {"family": {"kind": "most"}})]
    for change, origin in (
        ({"steps": 0}, "mine.yaml"),
        ({"kind": "most"}, "--config"),
        ({"tops": [0]}, "base.yaml"),
        ({"sizes": {"a": 0}}, "mine.yaml"),
    ):
        said = message(validated, {"steps": 1, **change}, schema, sources, ("family",))
        assert said.startswith(f"family.{next(iter(change))}") and said.endswith(f" ({origin})")


def test_reading_needs_neither_snakemake_nor_a_heavy_library():
    code = "import sys, palimpsest.plan.reading; print({'snakemake', 'torch', 'numpy', 'pandas'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "set()\n"
