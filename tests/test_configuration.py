"""What a wrong configuration gets: a message that names the key, before any work."""

import re
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, configuration, snakemake

EXPERIMENTS = ("smoke", "mini", "small", "full")


def refused(tmp_path: Path, change: str) -> str:
    """The message for a change of the smoke experiment, given as YAML."""
    path = tmp_path / "config.yaml"
    path.write_text(change, encoding="utf-8")
    done = snakemake(
        ROOT, "--dry-run", "--nolock", "--configfile", "config/smoke.yaml", str(path), "--directory", ".", check=False
    )
    assert done.returncode != 0, done.stdout[-2000:]
    return done.stdout


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("lcr: {modells: [tiny_vq]}", "modells"),
        ("experimant: x", "experimant"),
        ("lcr: {presets: {corrected: {masks: {min_score: 1.5}}}}", "1.5"),
        ("lcr: {presets: {corrected: {sampling: random}}}", "random"),
        ("lcr: {sweep: {tops: []}}", "tops"),
        ("base_models: download", "download"),
        ("lcr: {rules: {no_such_rule: {}}}", "src/palimpsest/lcr/rules/no_such_rule.py does not exist"),
        ("lcr: {models: [no_such_model]}", "no_such_model"),
        ("lcr: {judge: nobody}", "detectors.nobody"),
        ("datasets: {safe_test: {world: nowhere}}", "src/palimpsest/worlds/nowhere.py does not exist"),
        ("nobody: {}", "unknown key 'nobody'"),
        (
            "instance: {methods: {no_such_method: {grid: [{name: one}]}}}",
            "src/palimpsest/instance/methods/no_such_method.py",
        ),
        ("instance: {studies: {kind: {surrogates: [nothing]}}}", "instance.surrogates.nothing"),
        ("instance: {targets: {single-2: {set: nowhere}}}", "datasets.nowhere"),
        ("instance: {training: {steps: 0}}", "instance.training.steps is 0; allowed is an integer, at least 1"),
        ("networks: {tiny_vq: {published: nothing, trainer: null}}", "published"),
        ("datasets: {safe_test: {collection: nowhere}}", "collections.nowhere"),
        ("datasets: {safe_test: {collection: ffhq}}", "collections.ffhq has no source"),
        ("{collections: {ffhq: {explicit: true}}, datasets: {safe_test: {collection: ffhq}}}", "nobody consented"),
        ("report: {lcr: {tables: {no_such_table: {}}}}", "no_such_table"),
        ("report: {lcr: {figures: {panels: {rules: [blakc]}}}}", "report.lcr.figures.panels has rules ['blakc']"),
        ("report: {lcr: {figures: {panels: {pictres: [0]}}}}", "report.lcr.figures.panels has no parameter 'pictres'"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(tmp_path, change, named):
    assert named in refused(tmp_path, change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "base_models: download",
            'base_models is "download"; allowed is one of "released", "train", "random" ({file})',
        ),
        ("{lcr: {judge: a,\n judge: b}}", "{file}: the key lcr.judge stands in lines 1 and 2; keep one"),
        ("lcr: 5", "lcr is 5; allowed is a mapping ({file})"),
    ],
)
def test_a_fault_is_one_line_that_names_the_file(tmp_path, change, said):
    """The place in the rule files follows, and nothing else."""
    shown = refused(tmp_path, change)
    assert said.format(file=tmp_path / "config.yaml") in shown.splitlines(), shown
    assert len(shown.splitlines()) < 20


def test_a_fault_of_the_command_line_is_named_as_one():
    faulty = ("--configfile", "config/smoke.yaml", "--config", "base_models=download")
    shown = snakemake(ROOT, "--dry-run", "--nolock", *faulty, check=False).stdout
    assert re.search(r"^base_models is .* \(--config\)$", shown, re.MULTILINE)


def test_a_whole_float_is_an_integer(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("lcr: {sweep: {tops: [3.0]}}", encoding="utf-8")
    done = snakemake(ROOT, "--dry-run", "--nolock", "--configfile", "config/smoke.yaml", str(path)).stdout
    assert '"tops": [3]' in done and '"tops": [3.0]' not in done


@pytest.mark.parametrize("way", ["directory", "module"])
def test_the_workflow_runs_in_its_own_folder_alone(tmp_path, way):
    (tmp_path / "Snakefile").write_text(
        f'module palimpsest:\n    snakefile: "{ROOT}/Snakefile"\n\nuse rule * from palimpsest\n', encoding="utf-8"
    )
    arguments = ("-s", str(ROOT / "Snakefile"), "--directory", str(tmp_path)) if way == "directory" else ()
    done = snakemake(tmp_path, "--dry-run", *arguments, check=False)
    assert (
        done.returncode != 0
        and f"runs in its own folder, neither with --directory nor as a module: cd {ROOT}" in done.stdout
    )
    assert len(done.stdout.splitlines()) < 10


def test_a_null_removes_a_key(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("lcr: {rules: {fixed: null}}", encoding="utf-8")
    done = snakemake(ROOT, "--dry-run", "--nolock", "--configfile", "config/smoke.yaml", str(path)).stdout
    assert "corrected/tiny_vq/grid/forget_test/fixed" not in done


def entries(*keys: str) -> set[str]:
    """The keys below a place in any experiment."""
    found = set()
    for name in EXPERIMENTS:
        row = configuration(name)
        for key in keys:
            row = row.get(key, {})
        found |= set(row)
    return found


@pytest.mark.parametrize(
    ("folder", "keys"),
    [
        ("lcr/rules", ("lcr", "rules")),
        ("lcr/tables", ("report", "lcr", "tables")),
        ("lcr/figures", ("report", "lcr", "figures")),
        ("instance/tables", ("report", "instance", "tables")),
        ("instance/figures", ("report", "instance", "figures")),
    ],
)
def test_every_file_has_an_entry_and_every_entry_a_file(folder, keys):
    files = {path.stem for path in (ROOT / "src/palimpsest" / folder).glob("*.py") if not path.stem.startswith("_")}
    assert files == entries(*keys)


@pytest.mark.parametrize("path", sorted((ROOT / "workflow/schemas").glob("*.yaml")), ids=lambda path: path.stem)
def test_no_description_is_cut_at_a_comma(path):
    """In YAML's braces a comma ends a value, and what follows it becomes a key without one."""
    left = [yaml.safe_load(path.read_text(encoding="utf-8"))]
    while left:
        place = left.pop()
        assert not isinstance(place, dict) or None not in place.values(), place
        left += place.values() if isinstance(place, dict) else place if isinstance(place, list) else []


@pytest.mark.parametrize("family", ["lcr", "instance"])
def test_every_key_of_a_family_is_described_or_plain(family):
    schema = yaml.safe_load((ROOT / f"workflow/schemas/{family}.schema.yaml").read_text(encoding="utf-8"))
    assert schema["additionalProperties"] is False
    for name, row in schema["properties"].items():
        assert row.get("description") or row.get("$ref") or row.get("additionalProperties") is not None, name
